"""Strict reading of what callers send to `/api/v1/`."""
