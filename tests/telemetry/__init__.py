"""What can be observed of the service while it runs."""
