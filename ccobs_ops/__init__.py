"""Recovery, proven nightly: a Dagster code location and a command line over one Dagster-free core."""

__version__ = "0.1.0"
