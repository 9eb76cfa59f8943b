"""Adoption of existing modules."""
