"""Edge functions: remote HTTP functions that the service calls by name.

Nothing in this package imports aiohttp or requests before a call needs one of them.
"""
