"""Tests of the image: they build it and run it."""
