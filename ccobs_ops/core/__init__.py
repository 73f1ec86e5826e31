"""All behaviour. Nothing below this package imports Dagster; a test holds it to that."""
