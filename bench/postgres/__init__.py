"""Backup and restore of one PostgreSQL by several tools in one run. See docs/benchmarks.md."""
