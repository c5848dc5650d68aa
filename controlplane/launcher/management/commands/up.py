"""`manage.py up`: everything on one machine, until Ctrl-C."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command

from controlplane.fleet.models import Agent
from controlplane.launcher.banner import describe
from controlplane.launcher.credentials import admin_credentials, agent_environment
from controlplane.launcher.plan import (
    ProcessPlan,
    plan_agents,
    plan_controlplane,
)
from controlplane.launcher.ports import PortTaken, check_ports
from controlplane.launcher.supervisor import ProcessFailed, Supervisor, answers

READY_SECONDS = 150.0


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
            "--port", type=int, default=_port("KVPLANE_PORT", 8000), help="KVPLANE_PORT"
        )
        parser.add_argument(
            "--agent-port-start",
            type=int,
            default=_port("KVPLANE_INTERNAL_API_SERVER_PORT_START", 6999),
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

    def handle(self, *args: object, **options: object) -> None:
        """Start, say how to get in, and wait."""
        started = time.monotonic()
        controlplane = plan_controlplane(
            str(options["host"]), int(str(options["port"])), os.environ
        )
        workers = int(str(options["workers"]))
        self._say("migrating the database")
        call_command("migrate", verbosity=0)
        credentials = admin_credentials()
        agents: list[ProcessPlan] = []
        if workers:
            environment = {**os.environ, **agent_environment(controlplane.url)}
            agents = plan_agents(int(str(options["agent_port_start"])), workers, environment)
        supervisor = Supervisor(Path(settings.DATA_DIR) / "logs")
        supervisor.stop_on_signals()
        try:
            check_ports([controlplane, *agents])
            for plan in (controlplane, *agents):
                self._say(f"starting {plan.name} on {plan.url}")
                supervisor.start(plan)
            names = [_registered_name(plan) for plan in agents]
            supervisor.wait_until_ready(
                lambda: _missing(controlplane, agents, names), self._progress, READY_SECONDS
            )
            if not supervisor.stop_requested:
                self._say(f"ready after {time.monotonic() - started:.0f} s")
                listing = [f"{plan.url}  {name}" for plan, name in zip(agents, names, strict=True)]
                demo_agent = names[1] if len(names) > 1 else ""
                self.stdout.write(describe(controlplane.url, credentials, listing, demo_agent))
                supervisor.watch()
        except (PortTaken, ProcessFailed) as error:
            raise CommandError(str(error)) from error
        finally:
            self._say("stopping")
            supervisor.stop()

    def _say(self, text: str) -> None:
        self.stdout.write(f"==> {text}")

    def _progress(self, missing: Sequence[str]) -> None:
        if missing:
            self._say(f"waiting for {', '.join(missing)}")


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise CommandError(f"{variable} must be a port from 1 to 65535, not '{text}'.")
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
