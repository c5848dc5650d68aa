"""An agent's paged KV cache as it tells of it: the layout, and checksums of slots."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from controlplane.dashboard.asking import ask, no_use
from controlplane.fleet.models import Agent

MOST_CHECKSUMS = 500
_ALL = "all"


@dataclass(frozen=True)
class Layers:
    """Layers that follow each other and are alike. `shape` is that of one."""

    first: str
    last: str
    count: int
    shape: str
    dtype: str
    device: str


@dataclass(frozen=True)
class Checksum:
    """MD5, hexadecimal, of the chunk of that number; `layer` is "all" for all of them."""

    layer: str
    chunk: int
    md5: str


@dataclass(frozen=True)
class Checksums:
    """The first of them, and how many there are further."""

    shown: Sequence[Checksum]
    further: int


def read_layout(agent: Agent, *, request_id: str) -> list[Layers]:
    """Ask the agent how its KV cache is laid out. Raises ContractError."""
    layers = ask(agent, "get_kvcache_info", {}, request_id=request_id).get("layers")
    if not isinstance(layers, Mapping):
        raise no_use(agent, "it names no 'layers'")
    told = [(str(name), _described(layer)) for name, layer in layers.items()]
    return [
        Layers(names[0], names[-1], len(names), *described)
        for described, names in (
            (described, [name for name, _ in members])
            for described, members in groupby(told, key=lambda one: one[1])
        )
    ]


def read_checksums(agent: Agent, parameters: Mapping[str, str], *, request_id: str) -> Checksums:
    """Ask the agent for checksums. Raises ContractError, also for what the parameters
    lack."""
    document = ask(agent, "check_kvcache", parameters, request_id=request_id)
    found = list(_checksums(document.get("chunk_checksums")))
    if not found and document.get("num_chunks") != 0:
        raise no_use(agent, "it names no 'chunk_checksums'")
    return Checksums(found[:MOST_CHECKSUMS], max(0, len(found) - MOST_CHECKSUMS))


def _checksums(told: object) -> Iterator[Checksum]:
    by_layer = told if isinstance(told, Mapping) else {_ALL: told}
    for layer, sums in by_layer.items():
        for number, md5 in enumerate(sums if isinstance(sums, list) else (), start=1):
            yield Checksum(str(layer), number, str(md5))


def _described(layer: object) -> tuple[str, str, str]:
    said = layer if isinstance(layer, Mapping) else {}
    shape = said.get("shape")
    sizes = str(shape) if isinstance(shape, list) else "?"
    return sizes, str(said.get("dtype", "?")), str(said.get("device", "?"))
