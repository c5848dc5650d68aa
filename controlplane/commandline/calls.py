"""The arguments of a documented call, made from the catalogue and read back."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode

from engine.contract import Endpoint, Kind, Parameter, Values, read_parameters

_OPTION_NAMES = {"dryrun": "preview"}
# Our own --dry-run calls nobody; this one has the agent say what it would do.
_OPTION_HELP = {
    "dryrun": "Have the agent say what would come of it (its dryrun=true); it changes nothing."
}
_BODY_TYPES = {"string": str, "integer": int}


def add_parameters(parser: ArgumentParser, endpoint: Endpoint) -> None:
    """An argument for each parameter: the only required one stands by itself, the others
    are options."""
    required = [parameter for parameter in endpoint.parameters if parameter.required]
    for parameter in endpoint.parameters:
        if [parameter] == required:
            parser.add_argument(
                parameter.name, metavar=parameter.name.upper(), help=_help(parameter)
            )
        else:
            _add_option(parser, parameter)


def add_body(parser: ArgumentParser, endpoint: Endpoint) -> None:
    """An argument for each field of the JSON body."""
    schema = cast(dict[str, Any], endpoint.body_schema or {})
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        kind = _BODY_TYPES[_type_of(field)]
        description = str(field.get("description", ""))
        if name in required:
            parser.add_argument(name, metavar=name.upper(), type=kind, help=description)
        else:
            parser.add_argument(_option(name), dest=name, type=kind, help=description)


def parameters_of(endpoint: Endpoint, options: Mapping[str, Any]) -> dict[str, object]:
    """The parameters that were given, as they are written in a query string."""
    given = {parameter.name: options.get(parameter.name) for parameter in endpoint.parameters}
    return {
        name: "true" if value is True else value
        for name, value in given.items()
        if value not in (None, False, [])
    }


def body_of(endpoint: Endpoint, options: Mapping[str, Any]) -> dict[str, object] | None:
    """The fields of the body that were given; None for an endpoint that takes none."""
    if endpoint.body_schema is None:
        return None
    fields = cast(dict[str, Any], endpoint.body_schema).get("properties", {})
    return {name: options[name] for name in fields if options.get(name) is not None}


def read_values(endpoint: Endpoint, parameters: Mapping[str, object]) -> Values:
    """The parameters as the agent will read them. Raises InvalidParameter."""
    written = {
        name: value if isinstance(value, list) else [str(value)]
        for name, value in parameters.items()
    }
    return read_parameters(endpoint, written)


def query_of(endpoint: Endpoint, parameters: Mapping[str, object]) -> str:
    """The query string, checked. Raises InvalidParameter."""
    read_values(endpoint, parameters)
    return urlencode(parameters, doseq=True)


def _add_option(parser: ArgumentParser, parameter: Parameter) -> None:
    option = _option(_OPTION_NAMES.get(parameter.name, parameter.name))
    settings: dict[str, Any] = {
        "dest": parameter.name,
        "help": _help(parameter),
        "required": parameter.required,
    }
    if parameter.kind is Kind.BOOLEAN:
        del settings["required"]
        settings["action"] = "store_true"
    elif parameter.kind is Kind.STRINGS:
        settings |= {"action": "append", "default": [], "metavar": "NAME"}
    elif parameter.kind is Kind.SWITCH:
        settings["choices"] = ["true", "false"]
    else:
        settings["metavar"] = parameter.name.upper()
    parser.add_argument(option, **settings)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _help(parameter: Parameter) -> str:
    told = _OPTION_HELP.get(parameter.name, parameter.description)
    if parameter.kind in (Kind.BOOLEAN, Kind.SWITCH):
        return told
    return f"{told} Example: {parameter.example}."


def _type_of(field: Mapping[str, Any]) -> str:
    kind = field.get("type")
    return next(one for one in kind if one != "null") if isinstance(kind, list) else str(kind)
