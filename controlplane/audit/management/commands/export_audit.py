"""`manage.py export_audit [--format jsonl|csv] [--output FILE] [filters]`."""

from controlplane.audit.management.exporting import ExportAudit
from controlplane.commandline.base import DoorCommand


class Command(DoorCommand):
    """Writes entries of the log to a file."""

    help = ExportAudit.help
    verbs = (ExportAudit(),)
