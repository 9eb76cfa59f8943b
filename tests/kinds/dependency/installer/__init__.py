"""Tests of app.kinds.dependency.installer."""
