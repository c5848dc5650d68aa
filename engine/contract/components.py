"""Schemas that have a name, as an OpenAPI document keeps them: once, and referred to."""

from collections.abc import Iterable, Iterator, Mapping

from engine.contract.schemas import JSONSchema

Node = dict[str, object]
_PLACE = "#/components/schemas/"


def referred(schema: JSONSchema) -> Node:
    """`schema`, with a reference in place of itself or of each of its parts that has
    a name."""
    name = schema.get("title")
    return {"$ref": f"{_PLACE}{name}"} if isinstance(name, str) else _parts_referred(schema)


def components(schemas: Iterable[JSONSchema]) -> dict[str, Node]:
    """What those references lead to, by name. Raises ValueError for two schemas of
    one name."""
    kept: dict[str, Node] = {}
    for schema in schemas:
        for name, part in _named_parts(schema):
            found = _parts_referred({key: part[key] for key in part if key != "title"})
            if kept.setdefault(name, found) != found:
                raise ValueError(f"two schemas are called '{name}'; rename one")
    return kept


def _parts_referred(node: JSONSchema) -> Node:
    return {key: _value_referred(value) for key, value in node.items()}


def _value_referred(value: object) -> object:
    if isinstance(value, Mapping):
        return referred(value)
    return [_value_referred(item) for item in value] if isinstance(value, list) else value


def _named_parts(value: object) -> Iterator[tuple[str, JSONSchema]]:
    if isinstance(value, Mapping):
        name = value.get("title")
        if isinstance(name, str):
            yield name, value
        for part in value.values():
            yield from _named_parts(part)
    elif isinstance(value, list):
        for item in value:
            yield from _named_parts(item)
