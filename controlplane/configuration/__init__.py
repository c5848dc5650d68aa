"""Configuration revisions: numbered, diffed, rolled back."""
