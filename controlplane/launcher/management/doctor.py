"""What `manage.py doctor` does."""

from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict

from django.db import DatabaseError, transaction

from controlplane.audit import services as audit
from controlplane.commandline.exits import Exit
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.tables import table
from controlplane.commandline.told import Told
from controlplane.launcher.checkup import (
    agents,
    audit_log,
    channel_layer,
    controllers,
    credentials,
    database,
    host,
)
from controlplane.launcher.checkup.finding import Finding, Level, bad, worst

_EXITS = {Level.OK: Exit.DONE, Level.WARN: Exit.PARTIAL, Level.BAD: Exit.FAILED}
Check = Callable[[], Finding | Iterable[Finding]]


class Doctor(Verb):
    """Looks everything over."""

    name = ""
    help = (
        "Check the database, the channel layer, agents, clocks, tokens, the audit log, keys and "
        "disks, and say what to do. Exit status 0: all is well, 3: there are warnings, 1: "
        "something is bad."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """None."""

    def run(self, run: Run) -> Told:
        """Check. A check that the database keeps from looking is a finding too."""
        findings = list(_findings(run))
        level = worst(findings)
        told = [asdict(finding) for finding in findings]
        columns = ("area", "level", "what", "remedy")
        rows = ([finding[name] for name in columns] for finding in told)
        counts = {one: sum(finding.level is one for finding in findings) for one in Level}
        why = f"{counts[Level.BAD]} bad, {counts[Level.WARN]} warnings."
        document = {"level": level.value, "findings": told}
        return Told(document, [table(columns, rows)], _EXITS[level], why)

    def is_change(self, run: Run) -> bool:
        """It records itself, to see how long that takes."""
        return True


def _findings(run: Run) -> Iterator[Finding]:
    reached = database.check_connection()
    yield reached
    yield from _look("channel layer", channel_layer.check_channel_layer)
    yield from _look("disk", host.check_disk)
    if reached.level is Level.BAD:
        return
    migrated = _look("database", database.check_migrations)
    yield from migrated
    if worst(migrated) is Level.BAD:
        # The others would look at tables that are not there.
        return
    for area, check in (
        ("database", database.check_settings),
        ("database", lambda: database.check_commit(lambda: _record(run))),
        ("clocks", database.check_clock),
        ("audit", audit_log.check_keys),
        ("audit", audit_log.check_heads),
        ("audit", audit_log.check_guards),
        ("audit", audit_log.check_forwarding),
        ("tokens", credentials.check_admins),
        ("tokens", credentials.check_tokens),
        ("secret key", host.check_secret_key),
        ("controllers", controllers.check_controllers),
        ("agents", lambda: agents.check_agents(run.request_id)),
    ):
        yield from _look(area, check)


def _look(area: str, check: Check) -> list[Finding]:
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except (DatabaseError, OSError) as error:
        return [bad(area, f"it cannot be looked at: {error}", "See to the database first.")]


def _record(run: Run) -> None:
    with transaction.atomic():
        audit.record(
            action="command.run",
            target=f"command:{run.name}",
            actor=run.actor,
            request_id=run.request_id,
            request={"command": run.name},
            outcome="succeeded",
        )
