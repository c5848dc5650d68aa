"""Where configuration values come from, and how each source is read."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from engine.config.conversion import convert
from engine.config.errors import ConfigError, InvalidValueError
from engine.config.lmcache import LMCACHE_ONLY
from engine.config.settings import KEYS

logger = logging.getLogger(__name__)

ENVIRONMENT_PREFIX = "KVPLANE_"
FILE_VARIABLE = "KVPLANE_CONFIG_FILE"


@dataclass(frozen=True)
class Source:
    """Values as they were written, and how messages call their origin."""

    name: str
    values: Mapping[str, object]


def read_file(path: Path) -> Source:
    """The YAML mapping in `path`. Raises ConfigError naming the file."""
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"The configuration file '{path}' cannot be read: {error.strerror}."
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"The configuration file '{path}' is not YAML: {_fault(error)}."
        ) from error
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(
            f"The configuration file '{path}' must hold one mapping of keys to values."
        )
    return Source(f"file '{path}'", {str(name): value for name, value in document.items()})


def _fault(error: Exception) -> str:
    """What is wrong, and where; without the line itself, in which a secret may stand."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} in line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(error).split())


def read_environment(environ: Mapping[str, str]) -> Source:
    """The variables KVPLANE_<KEY>. Others with that prefix may be meant for the
    control plane, so they are logged, not refused."""
    values: dict[str, object] = {}
    unknown: list[str] = []
    for variable, text in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == FILE_VARIABLE:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name in KEYS or name in LMCACHE_ONLY:
            values[name] = text
        else:
            unknown.append(variable)
    if unknown:
        logger.warning(
            "No configuration key belongs to these environment variables: %s.",
            ", ".join(sorted(unknown)),
        )
    return Source("environment", values)


def merge(sources: list[Source]) -> dict[str, object]:
    """Values of all keys in the order of definition: the default, or what the
    last source that names the key says, converted. Raises ConfigError naming
    key, source and reason."""
    values = {name: key.default for name, key in KEYS.items()}
    ignored: set[str] = set()
    for source in sources:
        for name, written in source.values.items():
            if name in LMCACHE_ONLY:
                ignored.add(name)
                continue
            if name not in KEYS:
                raise ConfigError(
                    f"Unknown configuration key '{name}' from {source.name}; "
                    "remove it or correct its name."
                )
            try:
                values[name] = convert(KEYS[name], written)
            except InvalidValueError as error:
                raise ConfigError(f"'{name}' from {source.name} {error}.") from error
    if ignored:
        logger.info("Ignored LMCache keys without a meaning here: %s.", ", ".join(sorted(ignored)))
    return values
