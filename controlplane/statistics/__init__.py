"""Snapshots of chunk statistics: sampling, series, retention."""
