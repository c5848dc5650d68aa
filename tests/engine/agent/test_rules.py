"""What holds for every endpoint."""

import logging

import pytest
from starlette.testclient import TestClient

from engine.agent.agent import Agent
from engine.agent.app import create_app
from engine.agent.own_endpoints import OWN_ENDPOINTS
from engine.agent.reading import MAX_QUERY_BYTES
from engine.agent.routes import HANDLERS
from engine.contract import CATALOGUE, Component, Endpoint

ENDPOINTS = (*CATALOGUE, *OWN_ENDPOINTS)
every_endpoint = pytest.mark.parametrize(
    "endpoint", ENDPOINTS, ids=lambda entry: entry.operation_id
)


def call(client: TestClient, endpoint: Endpoint, path: str = "") -> tuple[int, object]:
    answer = client.request(
        endpoint.method,
        path or endpoint.path,
        params={
            p.name: p.example
            for p in endpoint.parameters
            if p.required or p.name == endpoint.reads_with
        },
        json={} if endpoint.body_schema is not None else None,
        follow_redirects=False,
    )
    if answer.headers["content-type"] == "application/json":
        return answer.status_code, answer.json()
    return answer.status_code, answer.text


def test_handlers__against_the_catalogue__one_each_and_none_besides() -> None:
    assert set(HANDLERS) == {entry.operation_id for entry in ENDPOINTS}


@every_endpoint
def test_endpoint__asked_as_documented__answers_with_the_documented_media_type(
    client: TestClient, endpoint: Endpoint
) -> None:
    params = {p.name: p.example for p in endpoint.parameters if p.required}
    body = {} if endpoint.body_schema is not None else None
    answer = client.request(endpoint.method, endpoint.path, params=params, json=body)
    is_missing = endpoint.component in (Component.VLLM, Component.LOOKUP_CLIENT)
    expected = 503 if is_missing else 200
    if endpoint.operation_id in ("store_cache", "retrieve_cache"):
        expected = 400  # the documented example has more tokens than 64 slots
    if endpoint.operation_id in ("load_fs_chunks", "add_bypass", "remove_bypass"):
        expected = 400  # an empty body names no file; the example's backend is not there
    assert answer.status_code == expected
    media_type = endpoint.media_type if expected == 200 else "application/json"
    assert answer.headers["content-type"].partition(";")[0] == media_type


@every_endpoint
def test_path__with_a_trailing_slash__same_answer_without_redirect(
    client: TestClient, endpoint: Endpoint
) -> None:
    slashed = call(client, endpoint, f"{endpoint.path}/")
    assert slashed == call(client, endpoint)


@every_endpoint
def test_method__not_served__405_with_allow_and_error_body(
    client: TestClient, endpoint: Endpoint
) -> None:
    answer = client.request("PATCH", endpoint.path)
    assert answer.status_code == 405
    served = {entry.method for entry in ENDPOINTS if entry.path == endpoint.path}
    if "GET" in served:
        served.add("HEAD")
    assert {method.strip() for method in answer.headers["allow"].split(",")} == served
    assert answer.json()["error"] == "Method not allowed"


@pytest.mark.parametrize("path", ["/", "//", "/freeze", "/freeze/status//", "/no/such", "/%00"])
def test_path__unknown__404_with_error_body(client: TestClient, path: str) -> None:
    answer = client.get(f"http://127.0.0.1{path}")
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "message"}


def test_head__of_a_get_endpoint__headers_of_get_without_a_body(client: TestClient) -> None:
    head, get = client.head("/freeze/status"), client.get("/freeze/status")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_request_id__sane__returned(client: TestClient) -> None:
    answer = client.get("/freeze/status", headers={"X-Request-ID": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"


@pytest.mark.parametrize("given", ["", "with blank", "x" * 129, "tab\there", "caf\xe9"])
def test_request_id__not_sane__replaced(client: TestClient, given: str) -> None:
    answer = client.get("/health", headers={"X-Request-ID": given.encode("latin-1")})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize("path", ["/no/such", "/conf?names=nothing", "/inference_version"])
def test_request_id__of_an_error_answer__returned(client: TestClient, path: str) -> None:
    assert client.get(path, headers={"X-Request-ID": "e1"}).headers["x-request-id"] == "e1"


def test_failure__unexpected__json_500_with_request_id_and_no_details(
    agent: Agent, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> dict[str, object]:
        raise RuntimeError("the reason, which callers must not see")

    monkeypatch.setattr(agent.cache, "kvcache_info", fail)
    client = TestClient(create_app(agent), base_url="http://localhost")
    with caplog.at_level(logging.ERROR):
        answer = client.get("/cache/kvcache/info", headers={"X-Request-ID": "find-me"})
    assert answer.status_code == 500
    assert answer.json()["error"] == "Internal error"
    assert "the reason" not in answer.text
    assert "find-me" in answer.text
    assert "find-me" in caplog.text
    assert "the reason" in caplog.text


def test_query__too_long__414(client: TestClient) -> None:
    slots = "1" + ",1" * (MAX_QUERY_BYTES // 2)
    answer = client.get(f"/cache/kvcache/check?chunk_size=1&slot_mapping={slots}")
    assert answer.status_code == 414
    assert "ranges" in answer.json()["message"]


def test_query__of_an_endpoint_without_parameters__ignored(client: TestClient) -> None:
    assert client.get("/freeze/status?names=%ff&x").status_code == 200


@pytest.mark.parametrize(
    "endpoint",
    [e for e in CATALOGUE if e.component in (Component.CACHE_ENGINE, Component.LOCAL_CPU_BACKEND)],
    ids=lambda entry: entry.operation_id,
)
def test_component__missing_on_a_scheduler__503_naming_the_path(
    scheduler: TestClient, endpoint: Endpoint
) -> None:
    answer = scheduler.request(endpoint.method, endpoint.path)
    assert answer.status_code == 503
    assert answer.json()["error"] == f"{endpoint.path} API is unavailable"
    assert "worker" in answer.json()["message"]


BAD_QUERIES = [
    ("GET", "/conf", "names=chunk_sice", "chunk_sice"),
    ("GET", "/conf", "names=chunk_size,zz", "zz"),
    ("GET", "/conf", "names=%ff", "UTF-8"),
    ("GET", "/meta", "names=wroker_id", "wroker_id"),
    ("POST", "/conf", "atomic=yes", "atomic"),
    ("POST", "/conf", "atomic=", "atomic"),
    ("POST", "/cache/store", "", "Must specify either tokens_input or tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=", "Must specify either tokens_input or tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=5", "tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=-1,5", "tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=5,5", "tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=9,5", "tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=0,65", "64"),
    ("POST", "/cache/store", "tokens_mock=0,1,2", "tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=0,999999999999999999", "64"),
    ("POST", "/cache/retrieve", "tokens_mock=0,65", "64"),
    ("POST", "/cache/retrieve", "tokens_mock=0," + "9" * 400, "tokens_mock"),
    ("DELETE", "/cache/clear", "locations=FooBackend", "Available: ['LocalCPUBackend']"),
    ("DELETE", "/cache/clear", "locations=LocalCPUBackend&locations=Foo", "Foo"),
    ("DELETE", "/cache/clear", "locations=", "locations"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1", "chunk_size"),
    ("GET", "/cache/kvcache/check", "chunk_size=2", "slot_mapping"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1&chunk_size=0", "chunk_size"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1&chunk_size=x", "chunk_size"),
    ("GET", "/cache/kvcache/check", "slot_mapping=[5,2]&chunk_size=2", "[5,2]"),
    ("GET", "/cache/kvcache/check", "slot_mapping=[5,2&chunk_size=2", "[5,2"),
    ("GET", "/cache/kvcache/check", "slot_mapping=-3&chunk_size=2", "-3"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1,,2&chunk_size=2", "slot_mapping"),
    ("GET", "/cache/kvcache/check", "slot_mapping=[0,99999999]&chunk_size=2", "[0,99999999]"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1,64&chunk_size=2", "slots 0 to 63"),
    ("GET", "/cache/kvcache/check", "slot_mapping=[0,9999999]&chunk_size=1", "checksums"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1&chunk_size=2&layerwise=2", "layerwise"),
    ("POST", "/cache/kvcache/record_slot", "enabled=1", "enabled"),
    ("POST", "/cache/kvcache/record_slot", "enabled=", "enabled"),
]


@pytest.mark.parametrize(("method", "path", "query", "word"), BAD_QUERIES)
def test_query__bad_value__400_naming_it_and_nothing_changes(
    client: TestClient, method: str, path: str, query: str, word: str
) -> None:
    client.post("/cache/store?tokens_mock=0,32")
    before = client.get("/agent/status").json()
    body = {} if (method, path) == ("POST", "/conf") else None
    answer = client.request(method, f"{path}?{query}", json=body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "message"}
    assert word in answer.json()["message"]
    assert client.get("/agent/status").json() == before
