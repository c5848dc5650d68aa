"""Query parameters as OpenAPI documents describe them: what the readers of
`engine.contract.values` take."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from engine.contract.endpoint import Kind, Parameter

Node = dict[str, object]

# Regular expressions of ECMA-262, which is what JSON Schema has.
_INTEGER = r"\s*[+]?[0-9]{1,18}\s*"
_SLOT = rf"({_INTEGER}|\s*\[{_INTEGER},{_INTEGER}\]\s*)"


def parameter_schema(parameter: Parameter) -> Node:
    """The JSON Schema of the parameter's value."""
    return _SCHEMAS[parameter.kind](parameter)


def parameter_example(parameter: Parameter) -> object:
    """The parameter's example, as a value of that schema."""
    return _EXAMPLES.get(parameter.kind, str)(parameter.example)


def _text(parameter: Parameter) -> Node:
    return {"type": "string"}


def _integer(parameter: Parameter) -> Node:
    schema: Node = {"type": "integer"}
    if parameter.minimum is not None:
        schema["minimum"] = parameter.minimum
    schema["maximum"] = 10**18 - 1 if parameter.maximum is None else parameter.maximum
    return schema


def _boolean(parameter: Parameter) -> Node:
    schema: Node = {"type": "boolean"}
    if parameter.default is not None:
        schema["default"] = parameter.default == "true"
    return schema


def _strings(parameter: Parameter) -> Node:
    return {"type": "array", "items": {"type": "string", "pattern": r"\S"}}


def _token_range(parameter: Parameter) -> Node:
    return {"type": "string", "pattern": f"^{_INTEGER},{_INTEGER}$"}


def _slot_mapping(parameter: Parameter) -> Node:
    return {"type": "string", "pattern": f"^{_SLOT}(,{_SLOT})*$"}


_SCHEMAS: Mapping[Kind, Callable[[Parameter], Node]] = MappingProxyType(
    {
        Kind.STRING: _text,
        Kind.INTEGER: _integer,
        Kind.BOOLEAN: _boolean,
        Kind.SWITCH: _boolean,
        Kind.NAMES: _text,
        Kind.STRINGS: _strings,
        Kind.TOKEN_RANGE: _token_range,
        Kind.SLOT_MAPPING: _slot_mapping,
    }
)


def _is_true(example: str) -> object:
    return example == "true"


def _one_item(example: str) -> object:
    return [example]


_EXAMPLES: Mapping[Kind, Callable[[str], object]] = MappingProxyType(
    {
        Kind.INTEGER: int,
        Kind.BOOLEAN: _is_true,
        Kind.SWITCH: _is_true,
        Kind.STRINGS: _one_item,
    }
)
