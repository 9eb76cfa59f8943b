"""How health is computed and read."""
