"""The database kind."""
