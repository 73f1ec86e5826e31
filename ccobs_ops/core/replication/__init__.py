"""Cross-region replication: is the other region really a copy, and how far behind?"""
