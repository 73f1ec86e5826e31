"""Alerts: who is told of an incident, over which channel, and that no word is lost on the way."""
