"""What texts hold, by their formats, and where in them it stands."""
