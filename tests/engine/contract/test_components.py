"""Schemas with a name, kept once and referred to."""

import pytest

from engine.contract import schemas
from engine.contract.components import components, referred

LEAF = schemas.record("Leaf", {"size": schemas.integer()})
TREE = schemas.record(
    "Tree",
    {
        "trunk": LEAF,
        "leaves": schemas.array(LEAF),
        "by_name": schemas.mapping(LEAF),
        "title": schemas.text(),
        "last": schemas.nullable(LEAF),
    },
)
REFERENCE = {"$ref": "#/components/schemas/Leaf"}


def test_referred__schema_with_a_name__is_a_reference() -> None:
    assert referred(LEAF) == REFERENCE


def test_referred__schema_without_a_name__refers_to_its_parts() -> None:
    assert referred(schemas.array(LEAF)) == {"type": "array", "items": REFERENCE}
    assert referred(schemas.text()) == {"type": "string"}


def test_components__of_a_schema__hold_its_parts_once_without_their_names() -> None:
    kept = components([TREE, LEAF])
    assert set(kept) == {"Tree", "Leaf"}
    assert kept["Leaf"] == {
        "type": "object",
        "properties": {"size": {"type": "integer"}},
        "required": ["size"],
    }
    assert kept["Tree"]["properties"] == {
        "trunk": REFERENCE,
        "leaves": {"type": "array", "items": REFERENCE},
        "by_name": {"type": "object", "additionalProperties": REFERENCE},
        # A property, not the name of a schema.
        "title": {"type": "string"},
        "last": {"oneOf": [REFERENCE, {"type": "null"}]},
    }


def test_components__two_schemas_of_one_name__refused() -> None:
    other = schemas.record("Leaf", {"colour": schemas.text()})
    with pytest.raises(ValueError, match="'Leaf'"):
        components([LEAF, other])
