"""From an incident to the smallest repair that the inventory allows, once, bounded, and looked at again afterwards."""
