"""What the blueprints answer with: one module for each that has bodies of its own."""
