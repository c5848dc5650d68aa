"""`manage.py verify_audit [--archive FILE] [--json]`."""

from controlplane.audit.management.verifying import VerifyAudit
from controlplane.commandline.base import DoorCommand


class Command(DoorCommand):
    """Says whether the log, or an archive of it, is what was written."""

    help = VerifyAudit.help
    verbs = (VerifyAudit(),)
