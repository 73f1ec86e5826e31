"""What a large ledger costs: made from a seed, then read, replayed and reported on."""
