"""The blueprints, and the API held to its description."""
