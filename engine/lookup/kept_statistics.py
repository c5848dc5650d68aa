"""Chunk statistics that outlive the lookup clients that feed them."""

import threading
from pathlib import Path
from typing import NamedTuple

from engine.config import EngineConfig
from engine.lookup.errors import LookupUnavailable
from engine.lookup.statistics import ChunkStatistics, make_counter


class _Making(NamedTuple):
    """What a counter is made of; a change of it asks for another counter."""

    strategy: str
    bloom_capacity: int


class KeptStatistics:
    """The statistics of one scheduler: made when a client first feeds them, and made
    anew, from zero, only when they are to be counted in another way. Thread-safe."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._statistics: ChunkStatistics | None = None
        self._making: _Making | None = None
        self._changing = threading.Lock()

    def fitting(self) -> ChunkStatistics:
        """Statistics as the configuration asks for them now. They go on counting if
        those before them did. Raises LookupUnavailable; what there was then stays."""
        config = self._config
        wanted = _Making(config.chunk_statistics_strategy, config.chunk_statistics_bloom_capacity)
        with self._changing:
            if self._statistics is not None and self._making == wanted:
                return self._statistics
            made = self._make(wanted)
            replaced, self._statistics, self._making = self._statistics, made, wanted
            if replaced is not None:
                if replaced.status()["is_collecting"]:
                    made.start()
                replaced.close()
            return made

    def present(self) -> ChunkStatistics:
        """The statistics that the last client feeds. Raises ValueError if none did yet."""
        with self._changing:
            if self._statistics is None:
                raise ValueError("No lookup client has counted chunks yet.")
            return self._statistics

    def close(self) -> None:
        with self._changing:
            if self._statistics is not None:
                self._statistics.close()
                self._statistics = None

    def _make(self, wanted: _Making) -> ChunkStatistics:
        directory = self._config.chunk_statistics_directory
        try:
            counter = make_counter(
                wanted.strategy,
                capacity=wanted.bloom_capacity,
                directory=None if directory is None else Path(directory),
            )
        except MemoryError as error:
            raise LookupUnavailable(
                f"There is no memory for the chunk statistics of {wanted.bloom_capacity} chunks; "
                "lower chunk_statistics_bloom_capacity."
            ) from error
        return ChunkStatistics(counter=counter, settings=self._config)
