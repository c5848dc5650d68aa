"""A control plane with a user and agents in it, through its own commands."""

import sys
from collections.abc import Mapping

from tests.support.processes import manage

PASSWORD = "correct-horse-battery-staple"


def prepare(environment: Mapping[str, str], username: str, role: str) -> str:
    """Migrate, make a user of that role, and a token of that user; the token."""
    manage(environment, "migrate", "--verbosity", "0")
    manage({**environment, "KVPLANE_PASSWORD": PASSWORD}, "create_user", username, "--role", role)
    return manage(environment, "create_token", username, "--name", "test").strip()


def register(
    environment: Mapping[str, str],
    name: str,
    url: str,
    *,
    engine: str,
    worker_id: int | None,
    token: str,
) -> None:
    """Register an agent: a worker, or a scheduler if `worker_id` is None."""
    role = ["--role", "scheduler"]
    if worker_id is not None:
        role = ["--role", "worker", "--worker-id", str(worker_id)]
    manage(
        environment,
        *("register_agent", name, url, "--engine", engine, *role, "--token-file", "-"),
        given=token,
    )


def serve_command(port: int) -> list[str]:
    """The command that serves the control plane on that port."""
    return [
        *(sys.executable, "-m", "uvicorn", "controlplane.asgi:application"),
        *("--port", str(port), "--no-access-log", "--no-proxy-headers"),
        *("--log-level", "warning"),
    ]
