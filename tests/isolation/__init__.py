"""Blueprints that fail, and how they come back."""
