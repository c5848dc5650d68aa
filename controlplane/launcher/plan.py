"""What runs: which processes, with which arguments, on which ports."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

HEALTH_PATH = "/health"

# A wildcard is an address to listen on, not one to call.
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound

# What a stand-alone agent of `make run` holds: the shape of SmolLM2-135M, 4,096
# slots of it (94 MB), and half a GiB of host memory for chunks. A variable of
# the same name in the environment overrules each.
DEMO_CACHE: Mapping[str, str] = {
    "KVPLANE_MODEL_NAME": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "KVPLANE_NUM_LAYERS": "30",
    "KVPLANE_NUM_KV_HEADS": "3",
    "KVPLANE_HEAD_SIZE": "64",
    "KVPLANE_KV_DTYPE": "bfloat16",
    "KVPLANE_BLOCK_SIZE": "16",
    "KVPLANE_NUM_BLOCKS": "256",
    "KVPLANE_MAX_LOCAL_CPU_SIZE": "0.5",
    "KVPLANE_LMCACHE_INSTANCE_ID": "smollm2",
}

# What only the control plane reads, some of it secret: no business of an agent.
CONTROLPLANE_SETTINGS = frozenset(
    {
        "DATABASE_URL",
        "DJANGO_SETTINGS_MODULE",
        "KVPLANE_AGENT_TIMEOUT",
        "KVPLANE_ALLOWED_HOSTS",
        "KVPLANE_CSRF_TRUSTED_ORIGINS",
        "KVPLANE_DATA_DIR",
        "KVPLANE_CONTROLLER_LEASE_SECONDS",
        "KVPLANE_DEBUG",
        "KVPLANE_DRIFT_POLICY",
        "KVPLANE_EMBEDDED_CONTROLLER",
        "KVPLANE_EVENTS_PATROL_SECONDS",
        "KVPLANE_EVENTS_RECHECK_SECONDS",
        "KVPLANE_HOST",
        "KVPLANE_HTTPS",
        "KVPLANE_HTTP_THREADS",
        "KVPLANE_LOG_LEVEL",
        "KVPLANE_MAX_ANSWER_BYTES",
        "KVPLANE_MAX_CALLS_PER_AGENT",
        "KVPLANE_OFFLINE_AFTER_MISSED",
        "KVPLANE_POLL_CONCURRENCY",
        "KVPLANE_POLL_SECONDS",
        "KVPLANE_POLL_TIMEOUT",
        "KVPLANE_PORT",
        "KVPLANE_REPAIR_ATTEMPTS",
        "KVPLANE_SECRET_KEY",
        "KVPLANE_SECRET_KEY_FALLBACKS",
        "KVPLANE_STATISTICS_BUCKET_SECONDS",
        "KVPLANE_STATISTICS_KEEP_DAYS",
        "KVPLANE_STATISTICS_RAW_DAYS",
        "KVPLANE_STATISTICS_SECONDS",
        "REDIS_URL",
    }
)


@dataclass(frozen=True)
class ProcessPlan:
    """One process to start and how to tell that it answers."""

    name: str
    command: tuple[str, ...]
    host: str
    port: int
    port_setting: str
    """What a user sets to move the process to another port."""
    environment: Mapping[str, str] = field(repr=False)
    """The whole environment of the process."""

    @property
    def url(self) -> str:
        """Where a process of this machine reaches it."""
        host = _LOOPBACK_OF.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def health_url(self) -> str:
        return f"{self.url}{HEALTH_PATH}"


def plan_controlplane(host: str, port: int, environment: Mapping[str, str]) -> ProcessPlan:
    """The control plane: one uvicorn process."""
    return ProcessPlan(
        name="controlplane",
        command=(
            sys.executable,
            *("-m", "uvicorn", "controlplane.asgi:application"),
            *("--host", host, "--port", str(port)),
            # Whom the log names as the caller must not be for the caller to say.
            *("--no-access-log", "--no-proxy-headers"),
            *("--log-level", "warning", "--timeout-graceful-shutdown", "5"),
        ),
        host=host,
        port=port,
        port_setting="KVPLANE_PORT",
        environment={
            **environment,
            "KVPLANE_ALLOWED_HOSTS": _with_loopback(environment.get("KVPLANE_ALLOWED_HOSTS", "")),
        },
    )


def _with_loopback(hosts: str) -> str:
    """Allowed hosts, with the names under which this machine's own agents call."""
    return ",".join(
        [name for name in hosts.split(",") if name] + ["localhost", "127.0.0.1", "[::1]"]
    )


def plan_agents(
    port_start: int, num_workers: int, environment: Mapping[str, str]
) -> list[ProcessPlan]:
    """A scheduler on `port_start` and each worker in a process of its own on
    the ports behind it, as vLLM runs them. `environment` is the caller's; the
    control plane's settings in it are not passed on."""
    inherited = {
        name: value for name, value in environment.items() if name not in CONTROLPLANE_SETTINGS
    }
    shared = {
        **DEMO_CACHE,
        **inherited,
        "KVPLANE_INTERNAL_API_SERVER_PORT_START": str(port_start),
        "KVPLANE_WORLD_SIZE": str(num_workers),
    }
    scheduler = _plan_agent(
        "scheduler", port_start, shared, ("--serve-scheduler", "true", "--worker-ids", "")
    )
    workers = [
        _plan_agent(
            f"worker-{worker_id}",
            port_start + 1 + worker_id,
            shared,
            ("--serve-scheduler", "false", "--worker-ids", str(worker_id)),
        )
        for worker_id in range(num_workers)
    ]
    return [scheduler, *workers]


def _plan_agent(
    name: str, port: int, environment: Mapping[str, str], arguments: tuple[str, ...]
) -> ProcessPlan:
    return ProcessPlan(
        name=name,
        command=(sys.executable, "-m", "engine", *arguments),
        host="127.0.0.1",
        port=port,
        port_setting="KVPLANE_INTERNAL_API_SERVER_PORT_START",
        environment=environment,
    )
