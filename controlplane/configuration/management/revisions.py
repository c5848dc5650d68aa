"""What `manage.py conf` does with revisions."""

import json
from argparse import ArgumentParser
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from controlplane.commandline.changing import add_change_options, told_of
from controlplane.commandline.planning import reason_of
from controlplane.commandline.reading import add_limit, add_timeout, limit_of, timeout_of
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.selecting import add_one_agent, name_of_one
from controlplane.commandline.tables import table
from controlplane.commandline.told import Told
from controlplane.configuration.errors import RevisionNotFound
from controlplane.configuration.models import ConfigRevision
from controlplane.configuration.serializers import ConfigRevisionSerializer
from controlplane.configuration.services import find_active, find_revision
from controlplane.configuration.values import Diff, difference
from controlplane.fleet.services import find_agent
from controlplane.operations.rolling_back import (
    Preview,
    foresee_rollback,
    preview_rollback,
    roll_back,
)
from engine.contract import endpoint

_CONF = endpoint("get_conf")


class History(Verb):
    """The revisions of an agent."""

    name = "history"
    help = "List the revisions of an agent's configuration, the newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose, and how many."""
        add_one_agent(parser)
        add_limit(parser)

    def run(self, run: Run) -> Told:
        """Ask nobody but the database. Raises AgentNotFound."""
        name = name_of_one(run.options, _CONF)
        found = ConfigRevision.objects.filter(agent=name).order_by("-number")[: limit_of(run)]
        revisions = [dict(ConfigRevisionSerializer(revision).data) for revision in found]
        if not revisions:
            find_agent(name)
        columns = ("number", "state", "source", "actor_name", "reason", "created_at", "diff")
        rows = ([revision[column] for column in columns] for revision in revisions)
        return Told({"agent": name, "revisions": revisions}, [table(columns, rows)])

    def reads(self, run: Run) -> str:
        """Revisions."""
        return "config-revisions"


class Difference(Verb):
    """What differs between two revisions."""

    name = "diff"
    help = "Show what changed from one revision of an agent's configuration to another."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose, and which."""
        add_one_agent(parser)
        parser.add_argument(
            "number", type=int, nargs="?", help="The later revision. Default: the active one."
        )
        parser.add_argument(
            "--against", type=int, metavar="NUMBER", help="The earlier one. Default: its parent."
        )

    def run(self, run: Run) -> Told:
        """Ask nobody but the database. Raises RevisionNotFound."""
        name = name_of_one(run.options, _CONF)
        after = _revision(name, run.options["number"])
        against = run.options["against"]
        number = (after.parent or 0) if against is None else against
        before = find_revision(name, number).values if number or against is not None else {}
        changed = difference(before, after.values)
        document = {"agent": name, "before": number, "after": after.number, "diff": changed}
        return Told(document, [diff_table(changed, f"revision {number} → {after.number}")])

    def reads(self, run: Run) -> str:
        """Revisions."""
        return "config-revisions"


class RollBack(Verb):
    """Goes back to an earlier revision."""

    name = "rollback"
    help = "Make a new revision with the values of an old one."
    operation_ids = ("update_conf",)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Whose, and to which."""
        add_one_agent(parser)
        parser.add_argument("number", type=int, help="The revision whose values are wanted.")
        parser.add_argument(
            "--expected-revision",
            type=int,
            metavar="NUMBER",
            help="Refused if another revision is active.",
        )
        parser.add_argument(
            "--preview",
            action="store_true",
            help="Ask the agent what it would take, and change nothing.",
        )
        add_change_options(parser)
        add_timeout(parser)

    def run(self, run: Run) -> Told:
        """Roll back, or say what that would do. Raises what roll_back() raises."""
        name, number = name_of_one(run.options, _CONF), run.options["number"]
        reason, timeout = reason_of(run.options), timeout_of(run)
        agent = find_agent(name)
        if run.is_dry:
            return _told_preview(name, foresee_rollback(name, number), run)
        if run.options["preview"]:
            preview = preview_rollback(agent, number, request_id=run.request_id, timeout=timeout)
            return _told_preview(name, preview, run)
        performed = roll_back(
            agent,
            number,
            expected=run.options["expected_revision"],
            actor=run.actor,
            reason=reason,
            request_id=run.request_id,
            timeout=timeout,
        )
        return told_of(performed.operation)

    def is_change(self, run: Run) -> bool:
        """Unless it only looks ahead."""
        return not (run.is_dry or run.options["preview"])

    def reads(self, run: Run) -> str:
        """Revisions, when it only looks ahead."""
        return "config-revisions"


def diff_table(changed: Diff, title: str) -> Table:
    """A row for each key."""
    rows = (
        (key, json.dumps(sides.get("from")), json.dumps(sides.get("to")))
        for key, sides in changed.items()
    )
    return table(("key", "from", "to"), rows, title)


def _revision(agent: str, number: int | None) -> ConfigRevision:
    if number is not None:
        return find_revision(agent, number)
    active = find_active(agent)
    if active is None:
        raise RevisionNotFound(agent, "active revision")
    return active


def _told_preview(agent: str, preview: Preview, run: Run) -> Told:
    document: dict[str, Any] = {
        "agent": agent,
        "active": preview.active.number,
        "target": preview.target.number,
        "changes": preview.changes,
        "left": preview.left,
        "problems": preview.problems,
    }
    shown: list[RenderableType] = [
        diff_table(preview.changes, "would be sent"),
    ]
    if preview.left:
        shown.append(diff_table(preview.left, "would stay, because only a restart changes it"))
    if preview.problems:
        shown.append(table(("key", "problem"), preview.problems.items(), "would be refused"))
    if run.is_dry:
        document = {"dry_run": True, **document}
        shown.append(
            "A dry run, by what the agent last said of its configuration: nothing was sent."
        )
    return Told(document, shown)
