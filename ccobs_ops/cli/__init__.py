"""The command line: one module a noun. Nothing below this package imports Dagster; a test holds it to that."""
