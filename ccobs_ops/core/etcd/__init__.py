"""etcd: snapshots that are proven by starting them."""
