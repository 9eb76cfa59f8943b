"""Where settings come from: one declaration for each variable, read once, with its source."""
