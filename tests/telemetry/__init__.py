"""What the service tells while it runs."""
