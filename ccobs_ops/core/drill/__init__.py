"""Drills: several restores run as one plan in the order that they depend on each other, with a measured critical path."""
