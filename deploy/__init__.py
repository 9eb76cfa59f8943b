"""What runs the service: how it starts, how a container checks itself, whom it trusts."""
