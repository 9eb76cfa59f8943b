"""Measurements: `make bench` and `make bench-image` print them as tables and as JSON."""
