"""Many seeded validations, each verdict checked by somebody else. See docs/benchmarks.md."""
