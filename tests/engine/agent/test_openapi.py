"""The OpenAPI document: valid, complete, and true."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import drf_spectacular.validation
import jsonschema
import pytest
from starlette.testclient import TestClient

from engine.agent.openapi import document
from engine.agent.own_endpoints import OWN_ENDPOINTS
from engine.contract import CATALOGUE, Endpoint

ENDPOINTS = (*CATALOGUE, *OWN_ENDPOINTS)


def problems(value: object, schema: dict[str, Any]) -> list[str]:
    """What does not fit the schema."""
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def test_document__against_the_openapi_3_1_schema__valid() -> None:
    directory = Path(drf_spectacular.validation.__file__).parent
    schema = json.loads((directory / "openapi_3_1_schema.json").read_text("utf-8"))
    assert problems(json.loads(json.dumps(document())), schema) == []


def test_document__paths__those_of_the_catalogue_and_our_own() -> None:
    found = {
        (method.upper(), path)
        for path, operations in document()["paths"].items()
        for method in operations
    }
    assert found == {(entry.method, entry.path) for entry in ENDPOINTS}


def test_document__operation_ids__unique() -> None:
    ids = [
        operation["operationId"]
        for operations in document()["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("entry", ENDPOINTS, ids=lambda entry: entry.operation_id)
def test_document__examples__valid_against_their_schemas(entry: Endpoint) -> None:
    operation = document()["paths"][entry.path][entry.method.lower()]
    for response in operation["responses"].values():
        for content in response["content"].values():
            schema = {**content["schema"], "components": document()["components"]}
            examples = [case["value"] for case in content.get("examples", {}).values()]
            for example in [*examples, *([content["example"]] if "example" in content else [])]:
                assert problems(example, schema) == []
    for parameter in operation.get("parameters", []):
        assert problems(parameter["example"], parameter["schema"]) == []


@pytest.mark.parametrize("entry", ENDPOINTS, ids=lambda entry: entry.operation_id)
def test_answers__of_a_real_agent__valid_against_the_document(
    client: TestClient, entry: Endpoint
) -> None:
    params = {p.name: p.example for p in entry.parameters if p.required}
    body = {} if entry.body_schema is not None else None
    answer = client.request(entry.method, entry.path, params=params, json=body)
    responses = document()["paths"][entry.path][entry.method.lower()]["responses"]
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = responses[str(answer.status_code)]["content"][media_type]["schema"]
    content = answer.json() if media_type == "application/json" else answer.text
    assert problems(content, {**schema, "components": document()["components"]}) == []


def test_document__served__the_same_as_printed(client: TestClient) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "engine.agent.openapi"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(printed.stdout) == client.get("/openapi.json").json()
    assert printed.stderr == b""
