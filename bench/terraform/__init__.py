"""Terraform: what a scan finds and misses, and what it costs."""
