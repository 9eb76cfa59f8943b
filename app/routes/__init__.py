"""Thin HTTP: one module a blueprint, each importing no more than its own views need."""
