"""The engine's public face. Standard library only."""
