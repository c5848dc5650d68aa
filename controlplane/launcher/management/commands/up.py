"""`manage.py up`: everything on one machine, until Ctrl-C."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command

from controlplane.audit.django_commands import CommandNotRecorded, migrating
from controlplane.fleet.models import Agent
from controlplane.launcher.banner import Credentials, describe
from controlplane.launcher.credentials import admin_credentials, agent_environment
from controlplane.launcher.plan import (
    ProcessPlan,
    plan_agents,
    plan_controlplane,
)
from controlplane.launcher.ports import PortTaken, check_ports
from controlplane.launcher.supervisor import ProcessFailed, Supervisor, answers

READY_SECONDS = 150.0
AGENT_PORT_SETTING = "KVPLANE_INTERNAL_API_SERVER_PORT_START"


class Command(BaseCommand):
    """Starts what a plan names and stops all of it together."""

    help = (
        "Start the control plane and, unless told otherwise, a scheduler and two workers that "
        "register with it. Makes an admin user on the first start. Ctrl-C stops everything; "
        "the next start finds its data."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The options; each has an environment variable of the same meaning."""
        parser.add_argument(
            "--host", default=os.environ.get("KVPLANE_HOST", "127.0.0.1"), help="KVPLANE_HOST"
        )
        parser.add_argument(
            "--port", default=os.environ.get("KVPLANE_PORT", "8000"), help="KVPLANE_PORT"
        )
        parser.add_argument(
            "--agent-port-start",
            default=os.environ.get(AGENT_PORT_SETTING, "6999"),
            help="Port of the scheduler; workers follow (KVPLANE_INTERNAL_API_SERVER_PORT_START).",
        )
        parser.add_argument("--workers", type=int, default=2, help="How many workers to start.")
        parser.add_argument(
            "--without-agents",
            dest="workers",
            action="store_const",
            const=0,
            help="The control plane alone.",
        )

    def handle(self, *args: object, **options: Any) -> None:
        """Start, say how to get in, and wait."""
        workers: int = options["workers"]
        port = _port("KVPLANE_PORT", options["port"])
        first = _port(AGENT_PORT_SETTING, options["agent_port_start"], further=workers)
        # The database and the logs hold what only their owner should read.
        os.umask(0o077)
        supervisor = Supervisor(Path(settings.DATA_DIR) / "logs")
        supervisor.stop_on_signals()
        controlplane = plan_controlplane(options["host"], port, os.environ)
        self._say("migrating the database")
        try:
            with migrating():
                call_command("migrate", verbosity=0)
        except CommandNotRecorded as error:
            raise CommandError(str(error)) from error
        credentials = admin_credentials()
        agents: list[ProcessPlan] = []
        if workers:
            environment = {**os.environ, **agent_environment(controlplane.url)}
            agents = plan_agents(first, workers, environment)
        try:
            self._run(supervisor, controlplane, agents, credentials)
        except (PortTaken, ProcessFailed) as error:
            raise CommandError(str(error)) from error
        finally:
            self._say("stopping")
            supervisor.stop()

    def _run(
        self,
        supervisor: Supervisor,
        controlplane: ProcessPlan,
        agents: list[ProcessPlan],
        credentials: Credentials,
    ) -> None:
        started = time.monotonic()
        check_ports([controlplane, *agents])
        for plan in (controlplane, *agents):
            self._say(f"starting {plan.name} on {plan.url}")
            supervisor.start(plan)
        names = [_registered_name(plan) for plan in agents]
        supervisor.wait_until_ready(
            lambda: _missing(controlplane, agents, names), self._progress, READY_SECONDS
        )
        if supervisor.stop_requested:
            return
        self._say(f"ready after {time.monotonic() - started:.0f} s")
        listing = [f"{plan.url}  {name}" for plan, name in zip(agents, names, strict=True)]
        demo_agent = names[1] if len(names) > 1 else ""
        self.stdout.write(describe(controlplane.url, credentials, listing, demo_agent))
        supervisor.watch()

    def _say(self, text: str) -> None:
        self.stdout.write(f"==> {text}")

    def _progress(self, missing: Sequence[str]) -> None:
        if missing:
            self._say(f"waiting for {', '.join(missing)}")


def _port(setting: str, text: str, *, further: int = 0) -> int:
    """The port in `text`, of which `further` more are needed. Raises CommandError."""
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= 65_535 - further:
        raise CommandError(f"{setting} must be a port from 1 to {65_535 - further}, not '{text}'.")
    return int(text)


def _registered_name(plan: ProcessPlan) -> str:
    """The name under which the agent of that process enrols itself."""
    instance = plan.environment["KVPLANE_LMCACHE_INSTANCE_ID"]
    return f"{instance}-{plan.name}"


def _missing(
    controlplane: ProcessPlan, agents: Sequence[ProcessPlan], names: Sequence[str]
) -> list[str]:
    """What does not answer, or is not registered, yet."""
    silent = [plan.name for plan in (controlplane, *agents) if not answers(plan)]
    if silent:
        return silent
    registered = dict(Agent.objects.filter(name__in=names).values_list("name", "url"))
    return [
        f"registration of {plan.name}"
        for plan, name in zip(agents, names, strict=True)
        if registered.get(name) != plan.url
    ]
