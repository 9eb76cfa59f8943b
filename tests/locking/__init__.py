"""Files made for a project."""
