"""An agent that is only its answers: configuration, modes, statistics, a boot id.

It speaks the part of the contract that a control loop uses, as the real agent does,
and counts what it is asked. Tests of the control plane use it at the seam of the
wire; `simulated_fleet` serves many of them over HTTP.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

BACKENDS = ("LocalCPUBackend", "LocalDiskBackend", "RemoteBackend")
DEFAULTS: Mapping[str, object] = {
    "chunk_size": 256,
    "min_retrieve_tokens": 0,
    "save_decode_cache": False,
    "remote_serde": "naive",
    "hit_miss_ratio": None,
    "agent_token": "***",
}


def _key(kind: str, **more: object) -> dict[str, object]:
    return {
        "type": kind,
        "optional": False,
        "default": None,
        "minimum": None,
        "maximum": None,
        "choices": None,
        "mutable": True,
        "applies": "now",
        "secret": False,
        "help": "",
        **more,
    }


SCHEMA: dict[str, dict[str, object]] = {
    "chunk_size": _key("int", mutable=False, applies="never"),
    "min_retrieve_tokens": _key("int", minimum=0, maximum=1 << 20),
    "save_decode_cache": _key("bool"),
    "remote_serde": _key("str", choices=["naive", "zstd"]),
    "hit_miss_ratio": _key(
        "float", optional=True, minimum=0.0, maximum=1.0, applies="on lookup recreate"
    ),
    "agent_token": _key("str", optional=True, mutable=False, applies="never", secret=True),
}

Answer = tuple[int, object]


@dataclass
class SimulatedAgent:
    """One agent; `restart()` forgets everything, as a process does."""

    role: str = "worker"
    conf: dict[str, object] = field(default_factory=lambda: dict(DEFAULTS))
    schema: dict[str, dict[str, object]] = field(
        default_factory=lambda: {name: dict(key) for name, key in SCHEMA.items()}
    )
    freeze: bool = False
    hot_cache: bool = True
    bypassed: list[str] = field(default_factory=list)
    boots: int = 1
    name: str = "simulated"
    generation: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    statistics: dict[str, object] | None = None
    storage: dict[str, dict[str, object]] = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda method, path: None
    """Called with method and path before each answer; may raise."""

    @property
    def boot_id(self) -> str:
        return hashlib.md5(f"{self.name}/{self.boots}".encode()).hexdigest()

    def restart(self, **conf: object) -> None:
        """Start anew with the start configuration, and `conf` in it."""
        self.boots += 1
        self.conf = {**DEFAULTS, **conf}
        self.freeze, self.hot_cache, self.bypassed = False, True, []
        self.generation = 0
        self.statistics, self.storage = None, {}

    def answer(self, method: str, target: str, body: bytes | None) -> Answer:
        """Status and document."""
        parts = urlsplit(target)
        self.asked[f"{method} {parts.path}"] = self.asked.get(f"{method} {parts.path}", 0) + 1
        self.before(method, parts.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        match method, parts.path:
            case "GET", "/agent/status":
                return 200, self.status()
            case "GET", "/conf":
                return 200, dict(self.conf)
            case "GET", "/conf/schema":
                return 200, {"keys": self.schema}
            case "POST", "/conf":
                return self._update(json.loads(body or b"{}"), query)
            case "GET", "/chunk_statistics/status":
                return 200, self.statistics
            case "PUT", "/freeze/enable" | "/freeze/disable":
                self.freeze = parts.path.endswith("enable")
                return 200, {"status": "success", "freeze": self.freeze, "message": ""}
            case "PUT", "/hot_cache/enable" | "/hot_cache/disable":
                self.hot_cache = parts.path.endswith("enable")
                return 200, {"status": "success", "hot_cache": self.hot_cache, "message": ""}
            case "GET", "/freeze/status":
                return 200, {"status": "success", "freeze": self.freeze, "message": ""}
            case "GET", "/hot_cache/status":
                return 200, {"status": "success", "hot_cache": self.hot_cache, "message": ""}
            case "GET", "/bypass/list":
                return 200, {
                    "status": "success",
                    "bypassed_backends": list(self.bypassed),
                    "all_backends": list(BACKENDS),
                }
            case "PUT", "/bypass/add" | "/bypass/remove":
                return self._bypass(query["backend_name"].strip(), add=parts.path.endswith("add"))
        return 200, {"status": "success"}

    def status(self) -> dict[str, object]:
        """As GET /agent/status."""
        return {
            "boot_id": self.boot_id,
            "started_at": 1.0,
            "role": self.role,
            "worker_id": 0 if self.role == "worker" else None,
            "instance_id": "simulated",
            "versions": {"kvplane": "0.1.0", "torch": None, "vllm": None},
            "generation": self.generation,
            "conf_hash": hashlib.sha256(json.dumps(self.conf, sort_keys=True).encode()).hexdigest(),
            "freeze": self.freeze,
            "hot_cache": self.hot_cache,
            "bypassed_backends": list(self.bypassed),
            "lookup": {"client": "None", "server": "None"},
            "chunk_statistics": self.statistics,
            "storage": self.storage,
            "counters": {"stored_tokens": 0, "retrieved_tokens": 0},
        }

    def _update(self, changes: dict[str, object], query: Mapping[str, str]) -> Answer:
        updated, errors = {}, {}
        for name, value in changes.items():
            if name not in self.conf:
                errors[name] = "Unknown config"
            elif not self.schema[name]["mutable"]:
                errors[name] = "Config is not mutable at runtime"
            elif not self._fits(name, value):
                errors[name] = "Failed to set config value: does not fit"
            else:
                updated[name] = value
        if errors and query.get("atomic") == "true":
            return 400, {"updated": {}, "errors": errors}
        if any(self.conf[name] != value for name, value in updated.items()):
            self.generation += 1
        self.conf.update(updated)
        return (
            (400, {"updated": updated, "errors": errors}) if errors else (200, {"updated": updated})
        )

    def _fits(self, name: str, value: object) -> bool:
        if name == "min_retrieve_tokens":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        if name == "save_decode_cache":
            return isinstance(value, bool)
        if name == "remote_serde":
            return value in ("naive", "zstd")
        return value is None or isinstance(value, int | float)

    def _bypass(self, backend: str, *, add: bool) -> Answer:
        if backend not in BACKENDS:
            return 400, {"error": "Unknown backend", "message": f"Backend '{backend}' not found."}
        was = backend in self.bypassed
        if add and not was:
            self.bypassed.append(backend)
        elif not add and was:
            self.bypassed.remove(backend)
        return 200, {
            "status": "success",
            "backend_name": backend,
            "bypassed": add,
            "was_already_bypassed" if add else "was_bypassed": was,
            "bypassed_backends": list(self.bypassed),
        }
