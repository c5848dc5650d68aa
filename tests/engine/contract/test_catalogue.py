"""The catalogue as data: consistent, and its examples true to its schemas."""

import subprocess
import sys
from collections import Counter

import jsonschema
import pytest

from engine.contract import (
    CATALOGUE,
    Component,
    ContractError,
    Endpoint,
    Kind,
    Origin,
    Role,
    endpoint,
    read_parameters,
    schemas,
)

every_endpoint = pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.operation_id)
every_parameter = pytest.mark.parametrize(
    ("entry", "parameter"),
    [(entry, parameter) for entry in CATALOGUE for parameter in entry.parameters],
    ids=lambda value: getattr(value, "operation_id", getattr(value, "name", "")),
)

DOCUMENTED = {
    *("GET /lmc_version", "GET /commit_id", "GET /version"),
    *("GET /inference_info", "GET /inference_version", "GET /conf", "POST /conf", "GET /meta"),
    *("DELETE /cache/clear", "POST /cache/store", "POST /cache/retrieve"),
    *("GET /cache/kvcache/check", "POST /cache/kvcache/record_slot", "GET /cache/kvcache/info"),
    "POST /cache/load-fs-chunks",
    *("GET /lookup/info", "POST /lookup/close", "POST /lookup/create", "POST /lookup/recreate"),
    *(f"POST /chunk_statistics/{verb}" for verb in ("start", "stop", "reset")),
    "GET /chunk_statistics/status",
    *("GET /bypass/list", "PUT /bypass/add", "PUT /bypass/remove"),
    *("PUT /freeze/enable", "PUT /freeze/disable", "GET /freeze/status"),
    *("PUT /hot_cache/enable", "PUT /hot_cache/disable", "GET /hot_cache/status"),
}


def check(document: object, schema: object) -> None:
    jsonschema.validate(document, schema, jsonschema.Draft202012Validator)


def test_catalogue__documented_endpoints__all_there_and_none_invented() -> None:
    found = {f"{e.method} {e.path}" for e in CATALOGUE if e.origin is Origin.DOCUMENTED}
    assert found == DOCUMENTED


def test_catalogue__operation_ids__unique_and_found() -> None:
    ids = Counter(entry.operation_id for entry in CATALOGUE)
    assert set(ids.values()) == {1}
    assert all(endpoint(name).operation_id == name for name in ids)


def test_catalogue__method_and_path__unique() -> None:
    assert set(Counter((e.method, e.path) for e in CATALOGUE).values()) == {1}


def test_catalogue__actions__unique_and_entity_verb() -> None:
    actions = [entry.action for entry in CATALOGUE if entry.action is not None]
    assert len(actions) == len(set(actions))
    assert all(len(action.split(".")) == 2 for action in actions)


def test_endpoint__unknown_operation_id__key_error() -> None:
    with pytest.raises(KeyError):
        endpoint("no_such_operation")


@every_endpoint
def test_path__as_written__absolute_without_trailing_slash(entry) -> None:
    assert entry.path.startswith("/")
    assert not entry.path.endswith("/")


@every_endpoint
def test_action__of_a_get__none_and_of_others_named(entry) -> None:
    assert (entry.action is None) == (entry.method == "GET")


@every_endpoint
def test_schemas__of_an_endpoint__valid_json_schemas(entry) -> None:
    schema_of_schemas = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
    for schema in (entry.response_schema, entry.body_schema):
        assert schema is None or list(schema_of_schemas.iter_errors(schema)) == []


@every_endpoint
def test_examples__of_an_endpoint__valid_against_their_schemas(entry) -> None:
    check(entry.response_example, entry.response_schema)
    if entry.body_schema is not None:
        check(entry.body_example, entry.body_schema)
    for case in entry.errors:
        check(case.example, schemas.ERROR if "error" in case.example else entry.response_schema)
        assert 400 <= case.status < 600


@every_parameter
def test_parameter__example__read_as_its_kind(entry, parameter) -> None:
    query = {p.name: [p.example] for p in entry.parameters}
    assert parameter.name in read_parameters(entry, query)


@every_parameter
def test_parameter__bounds_and_default__fit_its_kind(entry, parameter) -> None:
    if parameter.kind is not Kind.INTEGER:
        assert (parameter.minimum, parameter.maximum) == (None, None)
    if parameter.default is not None:
        assert not parameter.required
        query = {p.name: [p.example] for p in entry.parameters if p is not parameter}
        assert parameter.name in read_parameters(entry, query)


@every_endpoint
def test_changes__without_the_parameter_that_makes_it_change__reads(entry) -> None:
    if entry.reads_without is None:
        assert entry.changes({}) is (entry.action is not None)
        return
    assert entry.reads_without in {parameter.name for parameter in entry.parameters}
    assert entry.changes({}) is False
    assert entry.changes({entry.reads_without: True}) is True


def test_component__cache_engine__held_by_workers_alone() -> None:
    assert Component.CACHE_ENGINE.default_roles == (Role.WORKER,)
    assert Component.LOCAL_CPU_BACKEND.default_roles == (Role.WORKER,)
    assert set(Component.PROCESS.default_roles) == set(Role)


def test_component__lookup__goes_to_the_scheduler_by_default() -> None:
    assert Component.LOOKUP.default_roles == (Role.SCHEDULER,)
    assert Component.LOOKUP_CLIENT.default_roles == (Role.SCHEDULER,)


@pytest.mark.parametrize("entry", [entry for entry in CATALOGUE if entry.reads_with])
def test_reads_with__true__changes_nothing(entry: Endpoint) -> None:
    assert entry.reads_with in {parameter.name for parameter in entry.parameters}
    assert entry.changes({entry.reads_with: True}) is False
    assert entry.changes({entry.reads_with: False}) is True
    assert entry.changes({}) is True


def test_error__with_extra_fields__body_has_them_after_error_and_message() -> None:
    error = ContractError(409, "Conflict", "Two agents.", {"candidates": ["a", "b"]})
    assert list(error.body().items()) == [
        ("error", "Conflict"),
        ("message", "Two agents."),
        ("candidates", ["a", "b"]),
    ]


def test_import__of_the_contract__loads_nothing_but_the_standard_library() -> None:
    program = (
        "import sys, engine.contract\n"
        "known = sys.stdlib_module_names | {'engine', '__main__'}\n"
        "found = {name.partition('.')[0] for name in sys.modules} - known\n"
        "print(sorted(n for n in found if not n.startswith(('_', 'sitecustomize', 'distutils'))))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stdout.strip() == "[]"
