"""Dagster schedules, all in UTC."""
