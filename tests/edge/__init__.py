"""Edge functions, against real servers and real Workers."""
