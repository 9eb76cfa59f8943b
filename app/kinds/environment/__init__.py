"""The kind of environment variables: missing, invalid, misspelt, placeholders, unreadable files."""
