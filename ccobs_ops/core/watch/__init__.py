"""Watching what watches: the agents, how old backups are, and Dagster itself. Each is an exercise like any other."""
