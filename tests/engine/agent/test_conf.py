"""`/conf`, `/conf/schema`, `/meta`."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from engine.agent.app import create_app
from engine.config import KEYS

SECRET = "a-secret-that-must-not-appear"
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


def test_conf__names__in_the_order_asked_with_blanks_trimmed(client: TestClient) -> None:
    answer = client.get("/conf", params={"names": " num_layers , chunk_size"})
    assert list(answer.json().items()) == [("num_layers", 2), ("chunk_size", 16)]


@pytest.mark.parametrize("query", ["", "?names=", "?names=%20,%20"])
def test_conf__no_names__every_key_in_order(client: TestClient, query: str) -> None:
    assert list(client.get(f"/conf{query}").json()) == list(KEYS)


def test_conf__many_unknown_names__short_message(client: TestClient) -> None:
    answer = client.get("/conf", params={"names": ",".join(f"{i}{'x' * 90}" for i in range(99))})
    assert answer.status_code == 400
    assert len(answer.json()["message"]) < 400


def test_conf__secret_set__never_shown(make_worker, caplog: pytest.LogCaptureFixture) -> None:
    agent = make_worker(agent_token=SECRET, enrolment_token=SECRET)
    client = TestClient(create_app(agent), headers={"Authorization": f"Bearer {SECRET}"})
    texts = [
        client.get(path).text
        for path in ("/conf", "/conf/schema", "/agent/status", "/meta", "/inference_info")
    ]
    texts.append(client.post("/conf", json={"agent_token": SECRET}).text)
    texts.append(client.get("/conf", headers={"Authorization": f"Bearer {SECRET}x"}).text)
    assert client.get("/conf?names=agent_token").json() == {"agent_token": "***"}
    assert SECRET not in "".join(texts)
    assert SECRET not in caplog.text


def test_conf__secrets_inside_extra_config__hidden_at_any_depth(make_worker) -> None:
    given = {
        "plugin": {"api-key": "a", "Password": "b", "hosts": [{"auth_token": ["c"], "port": 1}]},
        "credentials": {"user": "d"},
        "empty_secret": None,
        "monkey": 2,
    }
    agent = make_worker(extra_config=given)
    client = TestClient(create_app(agent), base_url="http://127.0.0.1:7000")
    shown = client.get("/conf?names=extra_config").json()["extra_config"]
    assert shown == {
        "plugin": {
            "api-key": "***",
            "Password": "***",
            "hosts": [{"auth_token": "***", "port": 1}],
        },
        "credentials": "***",
        "empty_secret": None,
        "monkey": 2,
    }
    assert agent.config.extra_config == given


def test_update__a_thousand_keys__each_is_answered_for(client: TestClient) -> None:
    answer = client.post("/conf", json=dict.fromkeys(map(str, range(1_000)), 1))
    assert len(answer.json()["errors"]) == 1_000


def test_update__more_keys__message_names_the_limit(client: TestClient) -> None:
    answer = client.post("/conf", json=dict.fromkeys(map(str, range(1_001)), 1))
    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid JSON body")
    assert "1000" in answer.json()["message"]


def test_update__documented_example__sets_both(client: TestClient) -> None:
    wanted = {"min_retrieve_tokens": 512, "save_decode_cache": True}
    answer = client.post("/conf", json=wanted)
    assert (answer.status_code, answer.json()) == (200, {"updated": wanted})
    assert client.get("/conf?names=min_retrieve_tokens").json() == {"min_retrieve_tokens": 512}


def test_update__values_as_text__converted(client: TestClient) -> None:
    answer = client.post("/conf", json={"min_retrieve_tokens": "128", "save_decode_cache": "true"})
    assert answer.json()["updated"] == {"min_retrieve_tokens": 128, "save_decode_cache": True}


def test_update__partial_failure__400_with_what_was_updated(client: TestClient) -> None:
    answer = client.post("/conf", json={"min_retrieve_tokens": 7, "nope": 1, "chunk_size": 2})
    assert answer.status_code == 400
    assert answer.json() == {
        "updated": {"min_retrieve_tokens": 7},
        "errors": {"nope": "Unknown config", "chunk_size": "Config is not mutable at runtime"},
    }


def test_update__atomic_and_partly_wrong__changes_nothing(client: TestClient) -> None:
    before = client.get("/agent/status").json()
    answer = client.post("/conf?atomic=true", json={"min_retrieve_tokens": 9, "nope": 1})
    assert answer.status_code == 400
    assert answer.json() == {"updated": {}, "errors": {"nope": "Unknown config"}}
    assert client.get("/agent/status").json() == before


def test_update__atomic_and_right__changes_all(client: TestClient) -> None:
    answer = client.post("/conf?atomic=1", json={"min_retrieve_tokens": 9})
    assert (answer.status_code, answer.json()) == (200, {"updated": {"min_retrieve_tokens": 9}})


def test_update__accepted__generation_and_hash_differ(client: TestClient) -> None:
    before = client.get("/agent/status").json()
    client.post("/conf", json={"min_retrieve_tokens": 9})
    after = client.get("/agent/status").json()
    assert after["generation"] == before["generation"] + 1
    assert after["conf_hash"] != before["conf_hash"]


def test_update__min_retrieve_tokens__takes_effect_at_once(client: TestClient) -> None:
    client.post("/cache/store?tokens_mock=0,32")
    client.post("/conf", json={"min_retrieve_tokens": 33})
    assert client.post("/cache/retrieve?tokens_mock=0,32").json()["num_retrieved"] == 0


BAD_BODIES = {
    "not json": b"{",
    "empty": b"",
    "not an object": b"[1]",
    "NaN": b'{"min_retrieve_tokens": NaN}',
    "infinity": b'{"min_retrieve_tokens": -Infinity}',
    "duplicate keys": b'{"chunk_size": 1, "chunk_size": 2}',
    "invalid UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "over-long number": b'{"min_retrieve_tokens": ' + b"9" * 5000 + b"}",
    "number out of range": b'{"min_retrieve_tokens": 1e999}',
    "nested too deeply": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "unpaired surrogate": rb'{"model_name": "\ud800"}',
    "too many keys": json.dumps(dict.fromkeys(map(str, range(1_001)))).encode(),
    "over-long": b'{"a": "' + b"x" * (1 << 20) + b'"}',
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_update__bad_body__400_and_nothing_changes(client: TestClient, body: bytes) -> None:
    before = client.get("/agent/status").json()
    answer = client.post("/conf", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "Invalid JSON body"
    assert client.get("/agent/status").json() == before


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", None])
def test_update__another_media_type__415(client: TestClient, media_type: str | None) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = client.post("/conf", content=b'{"min_retrieve_tokens": 9}', headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["message"]


def test_update__charset_named__accepted(client: TestClient) -> None:
    answer = client.post(
        "/conf", content=b"{}", headers={"Content-Type": "Application/JSON; charset=utf-8"}
    )
    assert (answer.status_code, answer.json()) == (200, {"updated": {}})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(KEYS)) | st.text(), json_values, max_size=4))
def test_update__any_json_object__answers_for_every_key_and_stays_readable(
    client: TestClient, changes: dict[str, object]
) -> None:
    answer = client.post(
        "/conf",
        content=json.dumps(changes).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code in (200, 400)
    document = answer.json()
    if "updated" in document:
        assert {*document["updated"], *document.get("errors", {})} == set(changes)
    else:
        assert document["error"] == "Invalid JSON body"
    assert client.get("/conf").status_code == 200


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_update__any_bytes__never_a_failure_of_the_agent(client: TestClient, body: bytes) -> None:
    answer = client.post("/conf", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(["/conf", "/meta", "/cache/kvcache/check"]),
    st.dictionaries(
        st.sampled_from(["names", "slot_mapping", "chunk_size", "layerwise", "x"]),
        st.text(st.characters(exclude_categories=["Cs"])) | st.from_regex(r"[\d,\[\]\- ]*"),
    ),
)
def test_query__any_text__never_a_failure_of_the_agent(
    client: TestClient, path: str, params: dict[str, str]
) -> None:
    answer = client.get(path, params=params)
    assert answer.status_code in (200, 400)
    assert answer.headers["content-type"] == "application/json"


def test_schema__every_key__described(client: TestClient) -> None:
    keys = client.get("/conf/schema").json()["keys"]
    assert set(keys) == set(KEYS)
    assert keys["agent_token"]["secret"] is True


def test_meta__names__in_the_order_asked(client: TestClient) -> None:
    answer = client.get("/meta?names=kv_shape,worker_id,role")
    assert list(answer.json().items()) == [
        ("kv_shape", [2, 2, 16, 2, 8]),
        ("worker_id", 0),
        ("role", "worker"),
    ]


def test_meta__of_a_scheduler__no_worker_id(scheduler: TestClient) -> None:
    document = scheduler.get("/meta").json()
    assert (document["role"], document["worker_id"]) == ("scheduler", None)
