"""Figures of etcd snapshots and drills, side by side with etcdctl and etcdutl by hand."""
