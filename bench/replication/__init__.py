"""How fast a comparison is, side by side with other tools, against a list server that costs next to nothing."""
