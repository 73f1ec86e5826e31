"""Terraform in the lab: a provider for the lab's own servers, and three root modules that use it."""
