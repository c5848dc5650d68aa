"""What `manage.py agents` does besides asking agents for what is documented."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence

from rich.table import Table

from controlplane.commandline.outcomes import Target, told_of_targets
from controlplane.commandline.planning import reason_of
from controlplane.commandline.reading import add_timeout, timeout_of
from controlplane.commandline.run import Run, Verb
from controlplane.commandline.selecting import add_selector, agents_for, selector_of
from controlplane.commandline.tables import pairs, table
from controlplane.commandline.told import Told
from controlplane.fleet.models import Agent
from controlplane.fleet.serializers import AgentDetailSerializer, AgentSerializer
from controlplane.fleet.services import find_agent
from controlplane.operations.models import State
from controlplane.operations.probing import Said, probe_on_record
from controlplane.reconcile.models import Watch
from controlplane.reconcile.serializers import WatchSerializer
from engine.contract import ContractError, endpoint

_ANYBODY = endpoint("get_version")


class ListAgents(Verb):
    """The agents that are registered."""

    name = "list"
    help = "List the registered agents and how they do; with selectors only those."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Selectors."""
        add_selector(parser)

    def run(self, run: Run) -> Told:
        """Ask nobody but the database."""
        selector = selector_of(run.options)
        agents = (
            agents_for(selector, _ANYBODY)
            if selector.describe()
            else list(Agent.objects.select_related("engine").order_by("name"))
        )
        drift = dict(Watch.objects.filter(agent__in=agents).values_list("agent__name", "drift"))
        listed = [
            {**AgentSerializer(agent).data, "drift": drift.get(agent.name, {})} for agent in agents
        ]
        return Told({"agents": listed}, [_listing(listed)])

    def reads(self, run: Run) -> str:
        """Agents."""
        return "agents"


class ShowAgent(Verb):
    """All that is known of one agent."""

    name = "show"
    help = "Show what is known of an agent, and what the control loop notes about it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Its name."""
        parser.add_argument("agent", metavar="NAME", help="The agent.")

    def run(self, run: Run) -> Told:
        """Ask nobody but the database. Raises AgentNotFound."""
        agent = find_agent(run.options["agent"])
        shown = dict(AgentDetailSerializer(agent).data)
        watch = Watch.objects.filter(agent=agent).select_related("agent__engine").first()
        notes = None if watch is None else dict(WatchSerializer(watch).data)
        parts = [pairs(shown)] if notes is None else [pairs(shown), pairs(notes, "control loop")]
        return Told({**shown, "watch": notes}, parts)

    def reads(self, run: Run) -> str:
        """Agents."""
        return "agents"


class ProbeAgents(Verb):
    """Asks agents how they are."""

    name = "probe"
    help = "Ask agents how they are, and keep what they say."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Selectors."""
        add_selector(parser)
        add_timeout(parser)
        parser.add_argument("--reason", default="", help="Why; kept on record.")

    def run(self, run: Run) -> Told:
        """Ask all of them at once; of one that leaves nothing but silence nothing is kept."""
        agents = agents_for(selector_of(run.options), _ANYBODY)
        answers = probe_on_record(
            agents,
            actor=run.actor,
            reason=reason_of(run.options),
            request_id=run.request_id,
            timeout=timeout_of(run),
        )
        kept = [_target(agent, said) for agent, said in zip(agents, answers, strict=True)]
        return told_of_targets({}, kept)

    def is_change(self, run: Run) -> bool:
        """What is known of agents changes."""
        return True


def _target(agent: Agent, said: Said) -> Target:
    if isinstance(said, ContractError):
        return {
            "agent": agent.name,
            "state": State.FAILED.value,
            "status": said.status,
            "answer": None,
            "error": said.body(),
        }
    return {
        "agent": agent.name,
        "state": State.SUCCEEDED.value,
        "status": 200,
        "answer": agent.last_status,
        "error": None,
    }


def _listing(listed: Sequence[Mapping[str, object]]) -> Table:
    columns = ("name", "engine", "role", "url", "dialect", "health", "left_at", "drift")
    return table(columns, ([agent[name] for name in columns] for agent in listed))
