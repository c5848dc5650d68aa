"""The configuration of one agent: read from its sources once, then live."""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from engine.config.checks import check_beside, check_together
from engine.config.conversion import convert
from engine.config.errors import InvalidValueError
from engine.config.key import ConfigKey, FixedBecause
from engine.config.secrecy import HIDDEN, hide_secrets
from engine.config.settings import KEYS, Settings
from engine.config.sources import FILE_VARIABLE, Source, merge, read_environment, read_file

logger = logging.getLogger(__name__)

Subscriber = Callable[[object], None]

UNKNOWN = "Unknown config"
IMMUTABLE = "Config is not mutable at runtime"
_NOTHING: Mapping[str, object] = MappingProxyType({})
_NONE_FIXED: Mapping[str, FixedBecause] = MappingProxyType({})


@dataclass(frozen=True)
class ConfigUpdate:
    """What an update did: the values that were set, as they now read, and for
    each other key why it was not set."""

    updated: dict[str, object]
    errors: dict[str, str]


class EngineConfig(Settings):
    """The current value of every key, as typed attributes.

    Safe to use from several threads. Reading takes no lock: all values are
    replaced at once, so a reader sees an update whole or not at all.
    """

    def __init__(
        self,
        values: Mapping[str, object],
        file: Path | None = None,
        fixed: Mapping[str, FixedBecause] = _NONE_FIXED,
    ) -> None:
        """`values` holds every key of KEYS, converted; `file` is where some of them were
        read, if anywhere; `fixed` are keys that cannot change in this process, beside
        those that never can. Raises ConfigError if values contradict each other."""
        check_together(values)
        self.file = file
        self._keys = {
            name: replace(key, change=fixed[name]) if name in fixed else key
            for name, key in KEYS.items()
        }
        self._values: Mapping[str, object] = MappingProxyType(
            {name: deepcopy(values[name]) for name in KEYS}
        )
        self._generation = 0
        self._subscribers: dict[str, list[Subscriber]] = {}
        # Re-entrant, so that a subscriber may itself read or change the configuration.
        self._changing = threading.RLock()

    @classmethod
    def load(
        cls,
        file: Path | None = None,
        environ: Mapping[str, str] = MappingProxyType({}),
        extra: Mapping[str, object] = _NOTHING,
        flags: Mapping[str, object] = _NOTHING,
        fixed: Mapping[str, FixedBecause] = _NONE_FIXED,
    ) -> "EngineConfig":
        """Read all sources; a later one wins: defaults, the YAML file (`file`, else
        the one that KVPLANE_CONFIG_FILE names), the environment, `extra` (vLLM's
        kv_connector_extra_config), `flags` (only those that were given). `fixed` as for
        the constructor.

        Raises ConfigError naming the key, its source and what is wrong.
        """
        if file is None and FILE_VARIABLE in environ:
            file = Path(environ[FILE_VARIABLE])
        sources = [] if file is None else [read_file(file)]
        sources.append(read_environment(environ))
        sources.append(Source("kv_connector_extra_config", extra))
        sources.append(Source("the command line", flags))
        return cls(merge(sources), file, fixed)

    @property
    def values(self) -> Mapping[str, object]:
        """Current values of all keys, secrets included; for programs only."""
        return self._values

    @property
    def generation(self) -> int:
        """How many updates have changed something since the start."""
        return self._generation

    def snapshot(self) -> dict[str, object]:
        """Current values of all keys in the order of definition; a secret that is
        set reads "***", as does one inside an object. JSON-ready, and the caller's
        own copy."""
        values = self._values
        return {name: _shown(key, values[name]) for name, key in KEYS.items()}

    def schema(self) -> dict[str, object]:
        """Every key described, as `GET /conf/schema` answers."""
        return {"keys": {name: key.describe() for name, key in self._keys.items()}}

    def conf_hash(self) -> str:
        """SHA-256, hexadecimal, of all values including secrets, written as JSON
        with sorted keys and no blanks. Two agents with the same hash have the
        same configuration."""
        canonical = json.dumps(
            dict(self._values), sort_keys=True, separators=(",", ":"), ensure_ascii=True
        )
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def subscribe(self, name: str, callback: Subscriber) -> None:
        """Call `callback` with the new value after each change of the key `name`,
        in the thread of the update and before it returns. The callback must not
        raise. Raises KeyError for an unknown name."""
        if name not in KEYS:
            raise KeyError(name)
        with self._changing:
            self._subscribers.setdefault(name, []).append(callback)

    def update(self, changes: Mapping[str, object]) -> ConfigUpdate:
        """Set every key that can be set, and say for each other why not."""
        with self._changing:
            accepted, errors = self._check(changes)
            self._apply(accepted)
        return ConfigUpdate(accepted, errors)

    def update_atomically(self, changes: Mapping[str, object]) -> ConfigUpdate:
        """Set all keys or, if one is refused, none."""
        with self._changing:
            accepted, errors = self._check(changes)
            if errors:
                return ConfigUpdate({}, errors)
            self._apply(accepted)
        return ConfigUpdate(accepted, errors)

    def _check(self, changes: Mapping[str, object]) -> tuple[dict[str, object], dict[str, str]]:
        accepted: dict[str, object] = {}
        errors: dict[str, str] = {}
        for name, value in changes.items():
            if name not in self._keys:
                errors[name] = UNKNOWN
            elif not self._keys[name].mutable:
                errors[name] = IMMUTABLE
            else:
                try:
                    converted = convert(KEYS[name], value)
                    check_beside(name, converted, self._values)
                    accepted[name] = converted
                except InvalidValueError as error:
                    errors[name] = f"Failed to set config value: {error}"
        return accepted, errors

    def _apply(self, accepted: Mapping[str, object]) -> None:
        changed = {name: value for name, value in accepted.items() if value != self._values[name]}
        if not changed:
            return
        self._values = MappingProxyType({**self._values, **changed})
        self._generation += 1
        logger.info("Configuration changed: %s.", ", ".join(changed))
        for name, value in changed.items():
            for callback in self._subscribers.get(name, ()):
                callback(value)


def _shown(key: ConfigKey, value: object) -> object:
    if value is None:
        return None
    return HIDDEN if key.secret else hide_secrets(key.show(value))
