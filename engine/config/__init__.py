"""The engine's configuration: keys as data, sources, and live values."""

from engine.config.engine_config import ConfigUpdate, EngineConfig
from engine.config.errors import ConfigError, InvalidValueError
from engine.config.key import Applies, ConfigKey, FixedBecause, ValueType
from engine.config.settings import KEYS
from engine.config.sources import FILE_VARIABLE

__all__ = [
    "FILE_VARIABLE",
    "KEYS",
    "Applies",
    "ConfigError",
    "ConfigKey",
    "ConfigUpdate",
    "EngineConfig",
    "FixedBecause",
    "InvalidValueError",
    "ValueType",
]
