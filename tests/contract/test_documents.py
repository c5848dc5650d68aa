"""Both OpenAPI documents: valid, and such that good clients come out of them."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import drf_spectacular.validation
import jsonschema
import pytest

from engine.contract import CATALOGUE
from tests.support.document import (
    Operation,
    agent_document,
    controlplane_document,
    operations_of,
)

DOCUMENTS = {"controlplane": controlplane_document(), "agent": agent_document()}
EVERY = [
    pytest.param(document, operation, id=f"{name} {operation.id}")
    for name, document in DOCUMENTS.items()
    for operation in operations_of(document)
]
VERBS = (
    *("add", "cancel", "check", "clear", "close", "create", "delete", "diff", "disable"),
    *("enable", "enrol", "export", "get", "list", "load", "preview", "probe", "query"),
    *("record", "recreate", "register", "remove", "replace", "report", "reset", "retrieve"),
    *("retry", "revoke", "roll", "sample", "start", "stop", "store", "update", "verify"),
)
FREE = {
    # Whatever agents have for keys, values, answers and configurations.
    *("ConfValues", "ConfUpdated.updated", "InvalidRequest.fields", "NewOperationRequest.body"),
    *(
        "NewOperationRequest.parameters",
        "Operation.body",
        "OperationSummary.body",
        "AgentDetail.last_status",
    ),
    *("AuditEntry.request", "AuditEntry.before", "AuditEntry.after"),
    *("ConfigRevision.requested", "ConfigRevisionDetail.requested"),
    "ConfigRevisionDetail.values",
    *(f"OpenAPIDocument.{name}" for name in ("info", "paths", "components")),
}
"""Objects that hold what no document can know."""
every_document = pytest.mark.parametrize("name", DOCUMENTS)
every_operation = pytest.mark.parametrize(("document", "operation"), EVERY)


def resolved(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def check(document: dict[str, Any], value: object, schema: dict[str, Any]) -> None:
    whole = {**schema, "components": document["components"]}
    jsonschema.validate(value, whole, jsonschema.Draft202012Validator)


def examples_in(content: dict[str, Any]) -> list[object]:
    found = [example["value"] for example in content.get("examples", {}).values()]
    return [*found, content["example"]] if "example" in content else found


def nodes(value: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a document with the name of the component or property."""
    if isinstance(value, dict):
        yield path, value
        for key, part in value.items():
            inner = path if key in ("properties", "items", "anyOf", "oneOf") else f"{path}.{key}"
            yield from nodes(part, inner.removeprefix("."))
    elif isinstance(value, list):
        for part in value:
            yield from nodes(part, path)


@every_document
def test_document__against_the_schema_of_openapi_3_1__valid(name: str) -> None:
    directory = Path(drf_spectacular.validation.__file__).parent
    schema = json.loads((directory / "openapi_3_1_schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(DOCUMENTS[name])
    assert DOCUMENTS[name]["openapi"].startswith("3.1.")


@every_document
def test_document__references__all_lead_somewhere(name: str) -> None:
    document = DOCUMENTS[name]
    for _, node in nodes(document):
        if isinstance(node.get("$ref"), str):
            assert resolved(document, node)


@every_document
def test_document__component_schemas__are_valid_and_all_used(name: str) -> None:
    document = DOCUMENTS[name]
    used = {node["$ref"] for _, node in nodes(document) if isinstance(node.get("$ref"), str)}
    for component, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert f"#/components/schemas/{component}" in used


@every_document
def test_document__objects__say_what_they_hold(name: str) -> None:
    vague = {
        path
        for path, node in nodes(DOCUMENTS[name]["components"]["schemas"])
        if node.get("type") in ("object", ["object", "null"])
        and "properties" not in node
        and node.get("additionalProperties", {}) in ({}, True)
    }
    assert vague <= FREE


@every_document
def test_document__operation_ids__unique_and_make_good_names(name: str) -> None:
    ids = Counter(operation.id for operation in operations_of(DOCUMENTS[name]))
    assert set(ids.values()) == {1}
    for operation_id in ids:
        assert re.fullmatch("[a-z]+(_[a-z]+)+", operation_id)
        assert operation_id.partition("_")[0] in VERBS


def test_documents__documented_endpoints__have_the_same_ids_in_both() -> None:
    agent = {(o.method, o.path): o.id for o in operations_of(DOCUMENTS["agent"])}
    controlplane = {(o.method, o.path): o.id for o in operations_of(DOCUMENTS["controlplane"])}
    for entry in CATALOGUE:
        asked = (entry.method, entry.path)
        assert agent[asked] == controlplane[asked] == entry.operation_id
        scoped = controlplane[entry.method, f"/agents/{{agent_name}}{entry.path}"]
        assert scoped == f"{entry.operation_id}_of_agent"


@every_document
def test_document__tags__are_described_and_all_used(name: str) -> None:
    document = DOCUMENTS[name]
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    used = {tag for operation in operations_of(document) for tag in operation.described["tags"]}
    assert described == used


@every_operation
def test_operation__as_described__says_what_it_does_and_who_may(
    document: dict[str, Any], operation: Operation
) -> None:
    described = operation.described
    assert described["summary"]
    assert described["description"]
    assert len(described["tags"]) == 1
    security = described.get("security", document.get("security"))
    names = {name for requirement in security for name in requirement}
    assert names <= set(document["components"]["securitySchemes"])
    assert (names == set()) == (operation.id == "get_health")


@every_operation
def test_operation__parameters__have_a_description_and_a_fitting_example(
    document: dict[str, Any], operation: Operation
) -> None:
    for parameter in operation.described.get("parameters", ()):
        assert parameter.get("description"), parameter["name"]
        examples = examples_in(parameter)
        assert examples, parameter["name"]
        for example in examples:
            check(document, example, parameter["schema"])


@every_operation
def test_operation__request_body__has_a_schema_and_fitting_examples(
    document: dict[str, Any], operation: Operation
) -> None:
    content = operation.described.get("requestBody", {}).get("content", {})
    assert set(content) <= {"application/json"}
    for described in content.values():
        assert examples_in(described)
        for example in examples_in(described):
            check(document, example, described["schema"])


@every_operation
def test_operation__answers__have_schemas_and_fitting_examples(
    document: dict[str, Any], operation: Operation
) -> None:
    answers = operation.described["responses"]
    assert any(status.startswith("2") for status in answers)
    for status, answer in answers.items():
        described = resolved(document, answer)
        assert described["description"]
        assert ("content" in described) == (status != "204")
        for media_type, content in described.get("content", {}).items():
            assert content["schema"]
            is_json = media_type == "application/json"
            # Errors of an agent are of one kind; their texts are in the contract.
            if is_json and (document is not DOCUMENTS["agent"] or status == "200"):
                assert examples_in(content), status
            for example in examples_in(content):
                check(document, example, content["schema"])


@every_operation
def test_operation__error_answers__are_errors_and_fit_what_it_takes(
    document: dict[str, Any], operation: Operation
) -> None:
    answers = operation.described["responses"]
    for status, answer in answers.items():
        if status >= "400":
            schema = resolved(document, answer)["content"]["application/json"]["schema"]
            first = resolved(document, schema.get("anyOf", [schema])[0])
            assert {"error", "message"} <= set(first["required"])
    if operation.id == "get_health":
        return
    assert "401" in answers
    if "requestBody" in operation.described:
        assert {"400", "415"} <= set(answers)
    if "{" in operation.path:
        assert "404" in answers
    if document is DOCUMENTS["controlplane"] and not operation.path.startswith("/api/"):
        assert {"403", "502", "503", "504"} <= set(answers)
