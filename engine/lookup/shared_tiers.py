"""The store that all workers share, asked without them."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from engine.config import ConfigError, EngineConfig
from engine.device.configured import spec_of
from engine.lookup.client import Prompt
from engine.lookup.errors import LookupUnavailable
from engine.metadata import new_engine_id, worker_metadata
from engine.storage import ChunkLayout, SlowBackend
from engine.storage.building import build_remote
from engine.tokens import ChunkKey, namespace

_NOTHING_IS_WRITTEN: Final = 1


class SharedTier:
    """One worker's chunks in the remote store. What only the worker itself has, in
    memory or on its disk, is not seen."""

    def __init__(self, config: EngineConfig, fmt: str, worker_id: int) -> None:
        """`fmt` is the workers'. Raises LookupUnavailable if the store cannot be used."""
        metadata = replace(worker_metadata(config, worker_id, new_engine_id()), fmt=fmt)
        layout = ChunkLayout(namespace(metadata), spec_of(config))
        self._config = config
        self._namespace = layout.namespace
        try:
            self._remote: SlowBackend = build_remote(config, layout, _NOTHING_IS_WRITTEN)
        except ConfigError as error:
            raise LookupUnavailable(str(error)) from error

    def count(self, prompt: Prompt) -> int:
        """Chunks of the longest prefix in the store."""
        locations = self._config.retrieve_locations
        if locations is not None and self._remote.name not in locations:
            return 0
        found = self._remote.contains(
            [ChunkKey(self._namespace, digest) for digest in prompt.hashes]
        )
        return found.index(False) if False in found else len(found)

    def load(self, prompt: Prompt, go_on: Callable[[], bool]) -> int:
        """There is no memory here to load into."""
        return self.count(prompt)

    def forget(self, request_id: str) -> None:
        """Nothing is kept for a request."""

    def close(self) -> None:
        self._remote.close()


def open_shared_tiers(
    config: EngineConfig, fmt: str, worker_ids: Sequence[int]
) -> list[SharedTier]:
    """The store as each of those workers sees it, whose chunks have the format `fmt`.
    Raises LookupUnavailable."""
    with ExitStack() as opened:
        tiers: list[SharedTier] = []
        for worker_id in worker_ids:
            tier = SharedTier(config, fmt, worker_id)
            opened.callback(tier.close)
            tiers.append(tier)
        opened.pop_all()
    return tiers
