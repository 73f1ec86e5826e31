"""Terraform drift: what changed, what it does to recovery, and how it is put back."""
