"""Dagster resources: what a run is handed when it starts."""
