"""The configuration kind."""
