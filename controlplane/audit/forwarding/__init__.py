"""Telling others of new entries: a webhook, syslog."""
