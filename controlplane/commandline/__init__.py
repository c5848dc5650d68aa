"""What the management commands have in common: the tool box of one door."""
