"""One module a group of documented endpoints."""
