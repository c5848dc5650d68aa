"""What a person sees once everything runs."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Credentials:
    """How to get in: the admin's login, and files with secrets in them."""

    username: str
    password_file: Path
    token_file: Path


def describe(url: str, credentials: Credentials, agents: list[str], demo_agent: str) -> str:
    """The text to print: URLs, login, and commands to paste if there is an
    agent to try them on."""
    lines = [
        "",
        "KVPlane runs.",
        "",
        f"  Dashboard     {url}/dashboard/",
        f"  API docs      {url}/api/docs/",
        f"  ReDoc         {url}/api/redoc/",
        f"  Agents        {url}/api/v1/agents/",
        f"  Admin         {url}/admin/",
        f"  Login         {credentials.username}, password in {credentials.password_file}",
        *(f"  Agent         {line}" for line in agents),
    ]
    commands = commands_to_paste(url, credentials, demo_agent) if demo_agent else []
    if commands:
        lines += ["", "Try it:", "", *(f"  {command}" for command in commands)]
    return "\n".join([*lines, "", "Ctrl-C stops everything.", ""])


def commands_to_paste(url: str, credentials: Credentials, agent: str) -> list[str]:
    """Read an agent's configuration, freeze it, and read the audit entries of
    that."""
    curl = f'curl -sS -H "Authorization: Bearer $(cat {credentials.token_file})"'
    return [
        f"{curl} {url}/agents/{agent}/conf",
        f'{curl} -X PUT -H "X-KVPlane-Reason: trying it out" {url}/agents/{agent}/freeze/enable',
        f'{curl} "{url}/api/v1/audit/?agent={agent}&action=freeze.enable"',
    ]
