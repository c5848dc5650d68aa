"""What several test modules start and ask."""
