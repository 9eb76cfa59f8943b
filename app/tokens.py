"""Bearer tokens: who may change things and see details."""
