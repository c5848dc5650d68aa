"""The command of every documented endpoint.

`python -m tests.support.every_command SCHEDULER WORKER` makes all calls of `every_call`
against the installation that the environment names, changes twice, so that the second finds
things as it leaves them. It prints for each call its exit status, what it said, and the ids
of the requests under which it left audit entries; of a change, the second's.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from io import StringIO

from engine.contract import Endpoint, Kind, Parameter, Role
from tests.support.every_call import CALLS, REASON, Call

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


def arguments_of(
    endpoint: Endpoint, parameters: Mapping[str, str], body: Mapping[str, object] | None
) -> list[str]:
    """These parameters and this body, as they are typed."""
    required = [parameter for parameter in endpoint.parameters if parameter.required]
    typed: list[str] = []
    for parameter in endpoint.parameters:
        if parameter.name in parameters:
            value = parameters[parameter.name]
            typed += [value] if [parameter] == required else _option(parameter, value)
    if endpoint.operation_id == "update_conf":
        return [*typed, *(f"{key}={json.dumps(value)}" for key, value in (body or {}).items())]
    for name, given in (body or {}).items():
        option = [] if name == _POSITIONAL else [f"--{name.replace('_', '-')}"]
        typed += [*option, str(given)]
    return typed


def _option(parameter: Parameter, value: str) -> list[str]:
    option = f"--{_OPTION_NAMES.get(parameter.name, parameter.name).replace('_', '-')}"
    return [option] if parameter.kind is Kind.BOOLEAN else [option, value]


def _run(call: Call, agent: str) -> dict[str, object]:
    from django.core.management import CommandError, call_command

    from controlplane.audit.models import AuditEntry

    last = AuditEntry.objects.order_by("id").last()
    out, exit_ = StringIO(), 0
    why = ["--reason", REASON] if call.endpoint.action is not None else []
    try:
        call_command(
            *command_of(call.endpoint),
            *arguments_of(call.endpoint, call.parameters, call.body),
            *("--agent", agent, *why, "--json"),
            stdout=out,
        )
    except CommandError as error:
        exit_ = error.returncode
    # The control loop writes entries too.
    written = AuditEntry.objects.filter(pk__gt=last.pk if last else 0, actor_kind="command")
    return {
        "exit": exit_,
        "said": json.loads(out.getvalue()),
        "request_ids": sorted(set(written.values_list("request_id", flat=True))),
    }


def _run_all(scheduler: str, worker: str) -> dict[str, object]:
    agents = {Role.SCHEDULER: scheduler, Role.WORKER: worker}
    ran: dict[str, object] = {}
    for call in CALLS:
        if call.changes:
            _run(call, agents[call.role])
        ran[call.name] = _run(call, agents[call.role])
    return ran


if __name__ == "__main__":
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings")
    django.setup()
    print(json.dumps(_run_all(*sys.argv[1:])))
