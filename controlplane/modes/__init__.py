"""Freeze, hot cache and bypasses: desired state and its history."""
