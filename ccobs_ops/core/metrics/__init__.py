"""Everything in the ledger for Prometheus, rebuilt at each scrape."""
