"""Adoption: what existing modules need in order to be served, read without running any of them."""
