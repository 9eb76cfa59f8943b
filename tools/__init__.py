"""What writes the files of facts that are committed; none of it is in the image."""
