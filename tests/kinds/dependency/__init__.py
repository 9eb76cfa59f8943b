"""The dependency kind."""
