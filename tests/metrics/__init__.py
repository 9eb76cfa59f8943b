"""Metrics: counting, exposing, and what is made of them."""
