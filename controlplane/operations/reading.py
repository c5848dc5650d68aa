"""What is asked about operations that are shown."""

import uuid
from collections.abc import Iterable

from django.db.models import Count

from controlplane.operations.models import OperationTarget

Counts = dict[str, int]
"""How many targets are in each state; without those states that none is in."""


def count_targets(operations: Iterable[uuid.UUID]) -> dict[uuid.UUID, Counts]:
    """The counts of each of the operations, with one question for all."""
    counts: dict[uuid.UUID, Counts] = {operation: {} for operation in operations}
    rows = OperationTarget.objects.filter(operation__in=list(counts)).order_by("state")
    for operation, state, count in rows.values_list("operation", "state").annotate(
        count=Count("pk")
    ):
        counts[operation][state] = count
    return counts
