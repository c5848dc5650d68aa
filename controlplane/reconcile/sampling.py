"""Chunk statistics of what was just polled."""

from collections.abc import Sequence

from controlplane.reconcile.sighting import Sighting


def sample(sightings: Sequence[Sighting]) -> None:
    """Placeholder until statistics are wired."""
