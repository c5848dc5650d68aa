"""One key of the configuration of several agents: what it is, and what it would be."""

from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.audit.difference import same
from controlplane.configuration.schema import Keys, problems
from controlplane.configuration.services import active_of, known_schemas
from controlplane.dashboard.settings_form import (
    Field,
    editable_keys,
    field_of,
    read_value,
    written_value,
)


@dataclass(frozen=True)
class Setting:
    """The key on one agent, by its revision of that number. `problem` says why it cannot be
    what was asked for; "" if it can."""

    agent: str
    revision: int
    now: object
    then: object
    problem: str = ""

    @property
    def is_to_change(self) -> bool:
        """Whether the agent is to be called."""
        return not self.problem and not same(self.now, self.then)


class FleetSettings:
    """What is known of the configurations of agents, by their schemas and the revisions
    that are active. Two queries."""

    def __init__(self, agents: Sequence[str]) -> None:
        self._agents = agents
        schemas = known_schemas(agents)
        self._active = active_of(agents)
        self._keys: dict[str, Keys] = {
            agent: {name: schema[name] for name in editable_keys(self._active[agent], schema)}
            for agent, schema in schemas.items()
            if agent in self._active
        }

    def names(self) -> list[str]:
        """Every key that some agent lets be changed here."""
        return sorted({name for keys in self._keys.values() for name in keys})

    def with_key(self, name: str) -> list[str]:
        """The agents that let it be changed here."""
        return [agent for agent in self._agents if name in self._keys.get(agent, {})]

    def field(self, name: str, text: str | None, problem: str = "") -> Field:
        """The input of the key, as the first agent that has it describes it; with what it is
        there, if no text is given."""
        first = self.with_key(name)[0]
        key = self._keys[first][name]
        now = written_value(key, self._active[first].values[name])
        return field_of(name, key, now if text is None else text, problem)

    def preview(self, name: str, text: str) -> list[Setting]:
        """What the key would become on each agent that has it, checked by the agent's own
        schema."""
        settings = [self._setting(agent, name, text) for agent in self.with_key(name)]
        meant = next((setting.then for setting in settings if not setting.problem), None)
        return [
            setting if setting.problem or same(setting.then, meant) else _misread(setting)
            for setting in settings
        ]

    def _setting(self, agent: str, name: str, text: str) -> Setting:
        keys, revision = self._keys[agent], self._active[agent]
        now = revision.values[name]
        try:
            then = read_value(keys[name], text)
        except ValueError as error:
            return Setting(agent, revision.number, now, None, str(error))
        why = problems(keys, {name: then}).get(name, "")
        return Setting(agent, revision.number, now, then, why)


def _misread(setting: Setting) -> Setting:
    why = "it takes another type of value than the others; change it by itself"
    return Setting(setting.agent, setting.revision, setting.now, setting.then, why)
