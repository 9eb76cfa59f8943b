"""The kinds of fault that the engine heals, one folder each."""
