"""A call of every documented endpoint, with every parameter given, to real agents: the
same for every door."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from engine.contract import CATALOGUE, Endpoint, Role, endpoint, read_parameters

REASON = "deploy"
# What the agent can do with the catalogue's examples depends on what it holds.
_TOKENS = {"tokens_mock": "0,32"}
_DISK = {"backend_name": "LocalDiskBackend"}
_GIVEN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "check_kvcache": {"slot_mapping": "0,1,2,3", "chunk_size": "2", "layerwise": "true"},
        "store_cache": _TOKENS,
        "retrieve_cache": _TOKENS,
        "query_lookup": _TOKENS,
        "add_bypass": _DISK,
        "remove_bypass": _DISK,
    }
)
_BODIES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "update_conf": {"min_retrieve_tokens": 32},
        "load_fs_chunks": {"config_path": "/no/such/file.yaml", "max_chunks": 3},
    }
)
# There is no vLLM in these agents, and no such file.
_STATUS = {"get_inference_version": 503, "load_fs_chunks": 400}


@dataclass(frozen=True)
class Call:
    """`name` is the operation id, with what is special about the call; `parameters` are as
    they are typed."""

    name: str
    endpoint: Endpoint
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, object] | None = None
    status: int = 200

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        given = {name: [value] for name, value in self.parameters.items()}
        return self.endpoint.changes(read_parameters(self.endpoint, given))

    @property
    def role(self) -> Role:
        """Of the agent that it goes to."""
        roles = self.endpoint.component.default_roles
        return Role.WORKER if Role.WORKER in roles else Role.SCHEDULER


def call_of(entry: Endpoint) -> Call:
    """The call that does it. `dryrun` is left out: with it, it would only say so."""
    examples = {
        parameter.name: parameter.example
        for parameter in entry.parameters
        if parameter.name != entry.reads_with
    }
    name = entry.operation_id
    return Call(
        name,
        entry,
        _GIVEN.get(name, examples),
        _BODIES.get(name),
        _STATUS.get(name, 200),
    )


def _asking() -> list[Call]:
    """Calls of endpoints that change something which only ask."""
    calls = [
        Call(f"{entry.operation_id}-{entry.reads_with}", entry, {entry.reads_with: "true"})
        for entry in CATALOGUE
        if entry.reads_with is not None
    ]
    return [*calls, Call("record_slot-without", endpoint("record_slot"))]


CALLS: tuple[Call, ...] = (*(call_of(entry) for entry in CATALOGUE), *_asking())
