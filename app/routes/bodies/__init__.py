"""What the blueprints answer with: one module for each that has bodies of its own."""

#: The API's own version (semantic versioning); it is not the version of anything inside.
VERSION = "1.0.0"
