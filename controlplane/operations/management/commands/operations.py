"""`manage.py operations list|show|cancel|retry|rollback`."""

from controlplane.commandline.base import DoorCommand
from controlplane.operations.management.operations import (
    CancelOperation,
    ListOperations,
    RetryOperation,
    ShowOperation,
    TakeOperationBack,
)


class Command(DoorCommand):
    """Works on operations."""

    help = "List operations and what came of them; cancel, retry and take them back."
    verbs = (
        ListOperations(),
        ShowOperation(),
        CancelOperation(),
        RetryOperation(),
        TakeOperationBack(),
    )
