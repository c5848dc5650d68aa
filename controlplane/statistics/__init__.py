"""Snapshots of what agents counted, of chunks and of tiers: sampling, series, retention."""
