"""The rules that hold for every endpoint, through every door."""

import httpx
import pytest

from engine.contract import CATALOGUE, Endpoint
from tests.contract.conftest import NUM_SLOTS, Door

ENDPOINTS = pytest.mark.parametrize(
    "endpoint", CATALOGUE, ids=[entry.operation_id for entry in CATALOGUE]
)


def assert_error(answer: httpx.Response, status: int, *words: str) -> None:
    """An error answer as the contract has it, whose message has these words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    document = answer.json()
    assert isinstance(document["error"], str)
    for word in words:
        assert word in document["message"]


def call(door: Door, endpoint: Endpoint, path: str) -> httpx.Response:
    params = {p.name: p.example for p in endpoint.parameters if p.required}
    body = {"json": {}} if endpoint.body_schema is not None else {}
    return door.request(endpoint.method, path, params=params, **body)


@ENDPOINTS
def test_path__with_a_trailing_slash__same_answer_without_redirect(
    door: Door, endpoint: Endpoint
) -> None:
    plain = call(door, endpoint, endpoint.path)
    slashed = call(door, endpoint, f"{endpoint.path}/")
    assert slashed.status_code == plain.status_code
    assert slashed.headers["content-type"] == plain.headers["content-type"]


@ENDPOINTS
def test_method__not_served__405_with_allow(door: Door, endpoint: Endpoint) -> None:
    served = {entry.method for entry in CATALOGUE if entry.path == endpoint.path}
    wrong = next(method for method in ("PATCH", "DELETE") if method not in served)
    answer = door.request(wrong, endpoint.path)
    assert_error(answer, 405)
    assert served <= {method.strip() for method in answer.headers["allow"].split(",")}


def test_path__unknown__404_with_the_error_body(door: Door) -> None:
    assert_error(door.get("/no/such/path"), 404)


@ENDPOINTS
def test_token__wrong__401(door: Door, endpoint: Endpoint) -> None:
    answer = door.request(endpoint.method, endpoint.path, headers={"Authorization": "Bearer wrong"})
    assert_error(answer, 401)
    assert "bearer" in answer.headers["www-authenticate"].lower()


BAD_BODIES = {
    "not json": b"{",
    "not an object": b"[1]",
    "NaN": b'{"min_retrieve_tokens": NaN}',
    "Infinity": b'{"min_retrieve_tokens": -Infinity}',
    "duplicate keys": b'{"chunk_size": 1, "chunk_size": 2}',
    "invalid UTF-8": b'{"a": "\xff"}',
    "over-long number": b'{"min_retrieve_tokens": ' + b"9" * 5000 + b"}",
    "number out of range": b'{"min_retrieve_tokens": 1e999}',
    "nested too deeply": b'{"a": ' + b"[" * 2000 + b"]" * 2000 + b"}",
    "unpaired surrogate": rb'{"lmcache_instance_id": "\ud800"}',
    "over-long": b'{"a": "' + b"x" * (1 << 20) + b'"}',
    "empty": b"",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_conf__bad_body__400_and_nothing_changes(door: Door, body: bytes) -> None:
    before = door.get("/conf").json()
    answer = door.request(
        "POST", "/conf", content=body, headers={"Content-Type": "application/json"}
    )
    assert_error(answer, 400)
    assert door.get("/conf").json() == before


def test_conf__body_of_another_media_type__415_naming_the_header(door: Door) -> None:
    answer = door.request("POST", "/conf", content=b"a=1", headers={"Content-Type": "text/plain"})
    assert_error(answer, 415, "Content-Type: application/json")


BAD_QUERIES = [
    ("GET", "/conf", "names=chunk_sice", "chunk_sice"),
    ("GET", "/meta", "names=wroker_id", "wroker_id"),
    ("POST", "/conf", "atomic=yes", "atomic"),
    ("POST", "/cache/store", "", "Must specify either tokens_input or tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=", "Must specify either tokens_input or tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=5", "tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=-1,5", "tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=5,5", "tokens_mock"),
    ("POST", "/cache/store", "tokens_mock=0,1e3", "tokens_mock"),
    ("POST", "/cache/store", f"tokens_mock=0,{NUM_SLOTS + 1}", str(NUM_SLOTS)),
    ("POST", "/cache/retrieve", f"tokens_mock=0,{NUM_SLOTS + 1}", str(NUM_SLOTS)),
    ("POST", "/cache/retrieve", "tokens_mock=0," + "9" * 400, "tokens_mock"),
    ("DELETE", "/cache/clear", "locations=FooBackend", "FooBackend"),
    ("DELETE", "/cache/clear", "locations=", "locations"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1", "chunk_size"),
    ("GET", "/cache/kvcache/check", "chunk_size=2", "slot_mapping"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1&chunk_size=0", "chunk_size"),
    ("GET", "/cache/kvcache/check", "slot_mapping=[5,2]&chunk_size=2", "[5,2]"),
    ("GET", "/cache/kvcache/check", "slot_mapping=-3&chunk_size=2", "-3"),
    ("GET", "/cache/kvcache/check", "slot_mapping=1,x&chunk_size=2", "x"),
    ("GET", "/cache/kvcache/check", "slot_mapping=[0,99999999]&chunk_size=2", "[0,99999999]"),
    ("GET", "/cache/kvcache/check", f"slot_mapping={NUM_SLOTS}&chunk_size=2", str(NUM_SLOTS)),
    ("GET", "/cache/kvcache/check", "slot_mapping=1&chunk_size=2&layerwise=2", "layerwise"),
    ("POST", "/cache/kvcache/record_slot", "enabled=1", "enabled"),
    ("POST", "/cache/kvcache/record_slot", "enabled=", "enabled"),
    ("GET", "/conf", "names=%ff", "UTF-8"),
]


@pytest.mark.parametrize(("method", "path", "query", "word"), BAD_QUERIES)
def test_query__bad_value__400_naming_it(
    door: Door, method: str, path: str, query: str, word: str
) -> None:
    body = {"json": {}} if (method, path) == ("POST", "/conf") else {}
    assert_error(door.request(method, f"{path}?{query}", **body), 400, word)


def test_query__unknown_and_repeated_parameters__ignored_and_last_wins(door: Door) -> None:
    answer = door.get(
        "/cache/kvcache/check?chunk_size=0&nonsense=1&slot_mapping=[0,7]&chunk_size=4"
    )
    assert (answer.status_code, answer.json()["chunk_size"]) == (200, 4)


BAD_VALUES = [
    ("min_retrieve_tokens", 3.9),
    ("min_retrieve_tokens", -5),
    ("min_retrieve_tokens", None),
    ("min_retrieve_tokens", True),
    ("save_decode_cache", "maybe"),
    ("save_decode_cache", 2),
]


@pytest.mark.parametrize(("key", "value"), BAD_VALUES)
def test_conf__invalid_value__says_why_and_changes_nothing(
    door: Door, key: str, value: object
) -> None:
    before = door.get(f"/conf?names={key}").json()
    answer = door.request("POST", "/conf", json={key: value})
    assert answer.status_code == 400
    assert answer.json()["errors"][key].startswith("Failed to set config value: ")
    assert door.get(f"/conf?names={key}").json() == before


def test_conf__values_as_text__converted(door: Door) -> None:
    answer = door.request(
        "POST", "/conf", json={"min_retrieve_tokens": "128", "save_decode_cache": "true"}
    )
    assert answer.json()["updated"] == {"min_retrieve_tokens": 128, "save_decode_cache": True}


@pytest.mark.parametrize("key", ["agent_token", "controlplane_url", "enrolment_token"])
def test_conf__protected_key__refused(door: Door, key: str) -> None:
    answer = door.request("POST", "/conf", json={key: "http://other"})
    assert answer.json()["errors"] == {key: "Config is not mutable at runtime"}


def test_request_id__given__comes_back(door: Door) -> None:
    answer = door.get("/freeze/status", headers={"X-Request-ID": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"


def test_request_id__absent__made(door: Door) -> None:
    ids = {door.get("/freeze/status").headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
