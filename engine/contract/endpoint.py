"""What an endpoint of the contract is, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

JSONSchema = Mapping[str, object]
Values = dict[str, object]
"""Parameters of one call, read and typed; an absent optional one is not a key."""


class Group(StrEnum):
    """Endpoints that the documentation describes together."""

    VERSION = "version"
    INFO = "info"
    CONF = "conf"
    META = "meta"
    CACHE = "cache"
    FREEZE = "freeze"
    HOT_CACHE = "hot_cache"
    BYPASS = "bypass"
    LOOKUP = "lookup"
    CHUNK_STATISTICS = "chunk_statistics"
    AGENT = "agent"

    @property
    def description(self) -> str:
        """What its endpoints are about, in one sentence."""
        return _ABOUT[self]


_ABOUT: Mapping[Group, str] = MappingProxyType(
    {
        Group.VERSION: "Which build of the engine an agent runs.",
        Group.INFO: "What vLLM an agent lives in.",
        Group.CONF: "An agent's configuration.",
        Group.META: "What an agent's engine caches for.",
        Group.CACHE: "An agent's cached KV, and its paged KV cache.",
        Group.FREEZE: "Freeze mode: the local CPU cache does not change.",
        Group.HOT_CACHE: "The hot cache of LocalCPUBackend.",
        Group.BYPASS: "Storage backends that are left out of everything.",
        Group.LOOKUP: "How much of a prompt is cached: a scheduler's client, the workers' servers.",
        Group.CHUNK_STATISTICS: "How many chunks of looked-up prompts were looked up before.",
        Group.AGENT: "An agent's own account of itself.",
    }
)


class Role(StrEnum):
    """What an agent's process does in its engine."""

    SCHEDULER = "scheduler"
    WORKER = "worker"


class Component(StrEnum):
    """The part of a process that an endpoint needs."""

    PROCESS = "process"
    CACHE_ENGINE = "cache_engine"
    LOCAL_CPU_BACKEND = "local_cpu_backend"
    LOOKUP = "lookup"
    """A lookup client or server."""
    LOOKUP_CLIENT = "lookup_client"
    VLLM = "vllm"

    @property
    def default_roles(self) -> tuple[Role, ...]:
        """The roles of the agents that a call which names none may go to. For a lookup it
        is the scheduler, which speaks for its engine; a worker's server is named."""
        return _DEFAULT_ROLES.get(self, tuple(Role))


_DEFAULT_ROLES: Mapping[Component, tuple[Role, ...]] = MappingProxyType(
    {
        Component.CACHE_ENGINE: (Role.WORKER,),
        Component.LOCAL_CPU_BACKEND: (Role.WORKER,),
        Component.LOOKUP: (Role.SCHEDULER,),
        Component.LOOKUP_CLIENT: (Role.SCHEDULER,),
    }
)


class Origin(StrEnum):
    """Who else speaks this endpoint."""

    DOCUMENTED = "documented"
    """LMCache's documented API; both dialects speak it."""
    KVPLANE = "kvplane"
    """Our addition; not expected of a peer."""


class Kind(StrEnum):
    """How a query parameter is written, and the Python type it becomes."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    """`true`, `false`, `1` or `0` in any case."""
    SWITCH = "switch"
    """`true` or `false` in any case."""
    NAMES = "names"
    """`a,b` becomes `["a", "b"]`."""
    STRINGS = "strings"
    """`x=a&x=b` becomes `["a", "b"]`."""
    TOKEN_RANGE = "token_range"  # noqa: S105 - a range of tokens, not a secret
    """`"0,100"` becomes TokenRange(0, 100)."""
    SLOT_MAPPING = "slot_mapping"
    """`"1,[4,7]"` becomes [SlotRun(1, 1), SlotRun(4, 7)]."""


@dataclass(frozen=True)
class Parameter:
    """A query parameter. `minimum` and `maximum` bound an INTEGER."""

    name: str
    kind: Kind
    description: str
    example: str
    required: bool = False
    minimum: int | None = None
    maximum: int | None = None
    default: str | None = None
    """The value, as it would be written, that an absent parameter stands for."""
    origin: Origin = Origin.DOCUMENTED
    """Who else knows the parameter, where they speak the endpoint."""


@dataclass(frozen=True)
class ErrorCase:
    """An error answer that the endpoint can give, with its example body."""

    status: int
    when: str
    example: Mapping[str, object]


@dataclass(frozen=True)
class Endpoint:
    """One method on one path."""

    operation_id: str
    group: Group
    method: str
    path: str
    summary: str
    description: str
    response_schema: JSONSchema
    response_example: object
    component: Component = Component.PROCESS
    origin: Origin = Origin.DOCUMENTED
    action: str | None = None
    """`entity.verb` of the change that a call makes; None: the endpoint reads."""
    reads_without: str | None = None
    """A parameter without which a call of this changing endpoint only reads."""
    reads_with: str | None = None
    """A boolean parameter with which, if it is true, a call only reads."""
    parameters: tuple[Parameter, ...] = ()
    body_schema: JSONSchema | None = None
    body_example: Mapping[str, object] | None = None
    media_type: str = "application/json"
    errors: tuple[ErrorCase, ...] = field(default=())

    def changes(self, values: Values) -> bool:
        """Whether a call with these parameters changes anything on the agent."""
        if self.action is None:
            return False
        if self.reads_with is not None and values.get(self.reads_with) is True:
            return False
        return self.reads_without is None or self.reads_without in values
