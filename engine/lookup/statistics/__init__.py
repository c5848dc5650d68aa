"""How many of the chunks that are looked up were looked up before."""

from engine.lookup.statistics.auto_exit import StatisticsSettings
from engine.lookup.statistics.collecting import ChunkStatistics
from engine.lookup.statistics.status import Overhead, StatisticsStatus
from engine.lookup.statistics.strategies import STRATEGIES, make_counter
from engine.lookup.statistics.unique_counter import CountingFailed, UniqueCounter

__all__ = [
    "STRATEGIES",
    "ChunkStatistics",
    "CountingFailed",
    "Overhead",
    "StatisticsSettings",
    "StatisticsStatus",
    "UniqueCounter",
    "make_counter",
]
