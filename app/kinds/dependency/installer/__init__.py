"""The installers: which there are, what they are told, and what their output says."""
