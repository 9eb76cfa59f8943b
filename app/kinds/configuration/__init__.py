"""The kind of configuration files: read, checked, and served as they were last good."""
