"""Dagster jobs: which assets run together, and what the launchpad asks for."""
