"""Real servers whose blueprints break and come back."""
