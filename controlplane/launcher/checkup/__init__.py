"""Looking an installation over: what `manage.py doctor` finds, and what to do about it."""
