"""Tests of the healing floor, through its public names."""
