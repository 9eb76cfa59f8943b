"""Who may see and change what: tokens, pauses for guessing, rate limits."""
