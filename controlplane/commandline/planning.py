"""What is typed, checked by the serializer of the API, as a plan."""

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from controlplane.audit.limits import MAX_REASON
from controlplane.commandline.durations import read_duration
from controlplane.commandline.refusals import BadArgument
from controlplane.commandline.run import Run
from controlplane.commandline.selecting import selector_of
from controlplane.operations.planning import Plan
from controlplane.operations.serializers import NewOperationSerializer
from controlplane.operations.strategy import OnFailure
from engine.contract import Endpoint

_STRATEGY = {
    "canary": "canary",
    "wave_size": "wave_size",
    "pause": "pause_s",
    "max_failures": "max_failures",
    "on_failure": "on_failure",
}
# Stands in the place of an agent that is found later.
_SOMEBODY = {"everybody": True}


def add_rollout(parser: ArgumentParser) -> None:
    """In which order an operation goes through its agents."""
    group = parser.add_argument_group(
        "rollout", "Of a change of several agents. Without any: all at once, failures are borne."
    )
    group.add_argument("--canary", type=int, metavar="N", help="Agents in a first wave.")
    group.add_argument("--wave-size", type=int, metavar="N", help="Agents in each later wave.")
    group.add_argument("--pause", metavar="TIME", help="Between two waves, such as 5s.")
    group.add_argument(
        "--max-failures", type=int, metavar="N", help="More of them end it after their wave."
    )
    group.add_argument(
        "--on-failure",
        choices=[choice.value for choice in OnFailure],
        help="Then: stop, or rollback, which takes back what was done.",
    )
    group.add_argument("--concurrency", type=int, metavar="N", help="Calls at once.")


def plan_of(
    endpoint: Endpoint,
    parameters: Mapping[str, object],
    body: Mapping[str, object] | None,
    run: Run,
) -> Plan:
    """The plan; its selector is empty if nothing was selected. Raises BadArgument, and
    ValidationError naming the field."""
    selector = selector_of(run.options)
    asked = NewOperationSerializer(
        data={
            "action": endpoint.action,
            "parameters": dict(parameters),
            "selector": selector.describe() or _SOMEBODY,
            "reason": reason_of(run.options),
            **({} if body is None else {"body": dict(body)}),
            **_how(run.options),
        }
    )
    asked.is_valid(raise_exception=True)
    plan = asked.to_plan()
    return replace(plan, selector=selector)


def reason_of(options: Mapping[str, Any]) -> str:
    """The reason, one line. Raises BadArgument."""
    reason = str(options["reason"]).strip()
    if not reason.isprintable():
        raise BadArgument("--reason", "it has control characters; give one line of text.")
    if len(reason) > MAX_REASON:
        raise BadArgument("--reason", f"it has {len(reason)} characters; {MAX_REASON} are kept.")
    return reason


def _how(options: Mapping[str, Any]) -> dict[str, object]:
    strategy = {
        field: _seconds(option, options[option]) if option == "pause" else options[option]
        for option, field in _STRATEGY.items()
        if options.get(option) is not None
    }
    asked: dict[str, object] = {"strategy": strategy} if strategy else {}
    for option, field in (("expires_in", "expires_in_s"), ("timeout", "timeout_s")):
        if options.get(option) is not None:
            asked[field] = _seconds(option, options[option])
    for name in ("expires_at", "concurrency"):
        if options.get(name) is not None:
            asked[name] = options[name]
    return asked


def _seconds(option: str, text: str) -> float:
    return read_duration(f"--{option.replace('_', '-')}", text)
