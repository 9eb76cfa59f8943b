"""The API's description, its page, and the API held to them."""
