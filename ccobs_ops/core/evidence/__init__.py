"""Evidence that others can check: the ledger's chain verified, and what it says signed as in-toto statements."""
