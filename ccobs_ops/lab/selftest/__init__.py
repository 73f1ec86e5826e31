"""The lab turned on ourselves: every fault is injected, and must be found, named, told and closed."""
