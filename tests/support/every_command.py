"""The command of every documented endpoint, with the examples of the catalogue.

`python -m tests.support.every_command SCHEDULER WORKER` runs them all against the
installation that the environment names, and prints for each operation id its exit status
and what it said.
"""

import json
import os
import sys
from collections.abc import Iterator
from io import StringIO

from engine.contract import CATALOGUE, Component, Endpoint, Kind, Parameter

_OPTION_NAMES = {"dryrun": "preview"}
_POSITIONAL = "config_path"


def command_of(endpoint: Endpoint) -> tuple[str, str]:
    """Command and verb, of those that are for nothing but this endpoint."""
    from controlplane.commandline.changing import Change
    from controlplane.commandline.reading import Read

    return next(
        (name, verb.name)
        for name, verb in verbs()
        if isinstance(verb, Change | Read) and verb.operation_ids == (endpoint.operation_id,)
    )


def verbs() -> Iterator[tuple[str, object]]:
    """Every verb of every command of ours, with the command's name."""
    from django.core.management import get_commands, load_command_class

    from controlplane.commandline.base import DoorCommand

    for name, app in get_commands().items():
        if isinstance(app, str) and app.startswith("controlplane."):
            command = load_command_class(app, name)
            if isinstance(command, DoorCommand):
                yield from ((name, verb) for verb in command.verbs)


def arguments_of(endpoint: Endpoint) -> list[str]:
    """The example of every parameter, as it is typed; `dryrun` is left out."""
    required = [parameter for parameter in endpoint.parameters if parameter.required]
    typed: list[str] = []
    for parameter in endpoint.parameters:
        typed += [parameter.example] if [parameter] == required else _option(parameter)
    body = endpoint.body_example or {}
    if endpoint.operation_id == "update_conf":
        return [*typed, *(f"{key}={json.dumps(value)}" for key, value in body.items())]
    for name, value in body.items():
        option = [] if name == _POSITIONAL else [f"--{name.replace('_', '-')}"]
        typed += [*option, str(value)]
    return typed


def _option(parameter: Parameter) -> list[str]:
    if parameter.name in _OPTION_NAMES:
        return []
    option = f"--{parameter.name.replace('_', '-')}"
    return [option] if parameter.kind is Kind.BOOLEAN else [option, parameter.example]


def _run_all(scheduler: str, worker: str) -> dict[str, object]:
    from django.core.management import CommandError, call_command

    found: dict[str, object] = {}
    for endpoint in CATALOGUE:
        asks_scheduler = endpoint.component in (Component.LOOKUP, Component.LOOKUP_CLIENT)
        out, exit_ = StringIO(), 0
        try:
            call_command(
                *command_of(endpoint),
                *arguments_of(endpoint),
                *("--agent", scheduler if asks_scheduler else worker, "--json"),
                stdout=out,
            )
        except CommandError as error:
            exit_ = error.returncode
        found[endpoint.operation_id] = {"exit": exit_, "said": json.loads(out.getvalue())}
    return found


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    django.setup()
    print(json.dumps(_run_all(*sys.argv[1:])))
