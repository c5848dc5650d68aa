"""What `manage.py` does with its arguments."""

import sys
from collections.abc import Sequence

import django
from django.core.management import execute_from_command_line


def execute(argv: Sequence[str]) -> None:
    """Run the command; what Django's own can change is put on record. Ends the process
    as Django does."""
    name = argv[1] if len(argv) > 1 else ""
    if name.startswith("-") or not name:
        execute_from_command_line(list(argv))
        return
    # The log has models, which need Django to be set up.
    django.setup()
    from controlplane.audit.django_commands import (
        MIGRATE,
        RECORDED,
        CommandNotRecorded,
        migrating,
        on_record,
    )

    arguments = argv[2:]
    try:
        if name == MIGRATE:
            with migrating(arguments):
                execute_from_command_line(list(argv))
        elif name in RECORDED:
            with on_record(name, arguments):
                execute_from_command_line(list(argv))
        else:
            execute_from_command_line(list(argv))
    except CommandNotRecorded as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
