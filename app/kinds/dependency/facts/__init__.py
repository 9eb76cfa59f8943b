"""What is known of the world's packages: facts in files, read only to explain a fault."""
