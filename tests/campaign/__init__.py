"""Attacks the real service at random, and says what it tried and what did not hold."""
