"""Dagster sensors. A sensor detects; the job that it launches looks again before it acts.

None is needed yet: the nightly work runs on a clock, and freshness policies tell when it did not.
"""
