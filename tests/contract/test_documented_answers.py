"""The documented answers, through every door."""

import pytest

from engine.contract import CATALOGUE, Endpoint
from tests.contract.conftest import CHUNK_SIZE, NUM_LAYERS, NUM_SLOTS, Door

_ALL = "[0,31]"


def checksums(door: Door, slots: str = _ALL) -> list[str]:
    answer = door.get("/cache/kvcache/check", params={"slot_mapping": slots, "chunk_size": 16})
    return answer.json()["chunk_checksums"]


@pytest.mark.parametrize("path", ["/lmc_version", "/commit_id", "/version"])
def test_version__asked__bare_string_as_plain_text(door: Door, path: str) -> None:
    answer = door.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text
    assert '"' not in answer.text


def test_version__asked__joins_version_and_commit(door: Door) -> None:
    parts = [door.get(path).text for path in ("/lmc_version", "/commit_id")]
    assert door.get("/version").text == "-".join(parts)


def test_inference_version__no_vllm_in_the_process__unavailable(door: Door) -> None:
    answer = door.get("/inference_version")
    assert answer.status_code == 503
    assert answer.json()["error"] == "/inference_version API is unavailable"


def test_inference_info__asked__tells_role_and_worker(door: Door) -> None:
    document = door.get("/inference_info").json()
    assert (document["role"], document["worker_id"]) == ("worker", 0)


def test_conf__names_given__values_in_that_order(door: Door) -> None:
    document = door.get("/conf", params={"names": " save_decode_cache , chunk_size"}).json()
    assert list(document) == ["save_decode_cache", "chunk_size"]
    assert document["chunk_size"] == CHUNK_SIZE


def test_conf__no_names__every_key_with_secrets_hidden(door: Door) -> None:
    document = door.get("/conf").json()
    assert set(document) == set(door.get("/conf/schema").json()["keys"])
    assert document["agent_token"] == "***"


def test_conf__documented_update__takes_effect(door: Door) -> None:
    wanted = {"min_retrieve_tokens": 512, "save_decode_cache": True}
    answer = door.request("POST", "/conf", json=wanted)
    assert (answer.status_code, answer.json()) == (200, {"updated": wanted})
    door.request("POST", "/cache/store", params={"tokens_mock": "0,64"})
    retrieved = door.request("POST", "/cache/retrieve", params={"tokens_mock": "0,64"})
    assert retrieved.json()["num_retrieved"] == 0


def test_conf__partial_failure__400_with_what_was_updated(door: Door) -> None:
    answer = door.request("POST", "/conf", json={"min_retrieve_tokens": 7, "unknown_key": 1})
    assert answer.status_code == 400
    assert answer.json() == {
        "updated": {"min_retrieve_tokens": 7},
        "errors": {"unknown_key": "Unknown config"},
    }
    assert door.get("/conf?names=min_retrieve_tokens").json() == {"min_retrieve_tokens": 7}


def test_conf__partial_failure_of_an_atomic_update__nothing_changes(door: Door) -> None:
    answer = door.request(
        "POST", "/conf", params={"atomic": "TRUE"}, json={"min_retrieve_tokens": 9, "chunk_size": 1}
    )
    assert answer.status_code == 400
    assert answer.json() == {
        "updated": {},
        "errors": {"chunk_size": "Config is not mutable at runtime"},
    }
    assert door.get("/conf?names=min_retrieve_tokens").json() == {"min_retrieve_tokens": 0}


def test_meta__asked__has_the_contracts_attributes(door: Door) -> None:
    document = door.get("/meta").json()
    assert {
        "model_name",
        "role",
        "worker_id",
        "world_size",
        "kv_dtype",
        "kv_shape",
        "use_mla",
        "chunk_size",
        "fmt",
        "engine_id",
        "instance_id",
    } <= set(document)
    assert door.get("/meta?names=worker_id,role").json() == {"worker_id": 0, "role": "worker"}


def test_store_and_retrieve__whole_chunks__restore_the_bytes(door: Door) -> None:
    before = checksums(door)
    stored = door.request("POST", "/cache/store", params={"tokens_mock": "0,32"}).json()
    assert stored == {"status": "success", "num_tokens": 32, "num_stored": 32}
    retrieved = door.request("POST", "/cache/retrieve", params={"tokens_mock": "0,32"}).json()
    assert retrieved == {"status": "success", "num_tokens": 32, "num_retrieved": 32}
    assert checksums(door) == before


def test_store__same_tokens_again__stores_nothing_new(door: Door) -> None:
    counts = [
        door.request("POST", "/cache/store", params={"tokens_mock": "0,40"}).json()["num_stored"]
        for _ in range(2)
    ]
    assert counts == [32, 0]


def test_retrieve__prefix_cached__counts_the_prefix(door: Door) -> None:
    door.request("POST", "/cache/store", params={"tokens_mock": "0,32"})
    answer = door.request("POST", "/cache/retrieve", params={"tokens_mock": "0,100"})
    assert answer.json() == {"status": "success", "num_tokens": 100, "num_retrieved": 32}


def test_clear__after_a_store__counts_chunks(door: Door) -> None:
    door.request("POST", "/cache/store", params={"tokens_mock": "0,48"})
    answer = door.request(
        "DELETE", "/cache/clear", params={"locations": ["LocalCPUBackend"]}
    ).json()
    assert answer == {"status": "success", "num_removed": 3, "removed": {"LocalCPUBackend": 3}}
    again = door.request("POST", "/cache/retrieve", params={"tokens_mock": "0,48"}).json()
    assert again["num_retrieved"] == 0


def test_check__slots_with_ranges__documented_shape(door: Door) -> None:
    params = {"slot_mapping": "1,2,3,[9,12],17,19", "chunk_size": 4}
    document = door.get("/cache/kvcache/check", params=params).json()
    assert document["slot_mapping_ranges"] == [[1, 3], [9, 12], 17, 19]
    assert (document["num_chunks"], len(document["chunk_checksums"])) == (3, 3)
    assert document["layerwise"] is False


def test_check__layerwise__one_list_a_layer(door: Door) -> None:
    params = {"slot_mapping": "[0,7]", "chunk_size": 4, "layerwise": "1"}
    document = door.get("/cache/kvcache/check", params=params).json()
    assert document["layerwise"] is True
    assert len(document["chunk_checksums"]) == NUM_LAYERS
    assert {len(chunks) for chunks in document["chunk_checksums"].values()} == {2}


def test_record_slot__toggled__says_so(door: Door) -> None:
    def call(**params: str) -> bool:
        answer = door.request("POST", "/cache/kvcache/record_slot", params=params)
        return answer.json()["kvcache_check_log_enabled"]

    assert call(enabled="True") is True
    assert call() is True
    assert call(enabled="false") is False
    assert call() is False


def test_kvcache_info__asked__tells_every_layer(door: Door) -> None:
    document = door.get("/cache/kvcache/info").json()
    assert document["num_layers"] == len(document["layers"]) == NUM_LAYERS
    layer = next(iter(document["layers"].values()))
    assert layer["dtype"] == "torch.float32"
    assert layer["shape"] == [2, NUM_SLOTS // 4, 4, 2, 8]


def test_freeze__enabled__nothing_is_stored(door: Door) -> None:
    answer = door.request("PUT", "/freeze/enable")
    assert answer.json() == {
        "status": "success",
        "freeze": True,
        "message": "Freeze mode enabled successfully",
    }
    stored = door.request("POST", "/cache/store", params={"tokens_mock": "0,32"}).json()
    assert stored == {"status": "success", "num_tokens": 32, "num_stored": 0}
    assert door.get("/freeze/status").json() == {
        "status": "success",
        "freeze": True,
        "message": "Freeze mode is enabled",
    }


def test_freeze__disabled__stores_again(door: Door) -> None:
    door.request("PUT", "/freeze/enable")
    assert door.request("PUT", "/freeze/disable").json()["freeze"] is False
    assert door.get("/freeze/status").json()["message"] == "Freeze mode is disabled"
    stored = door.request("POST", "/cache/store", params={"tokens_mock": "0,32"}).json()
    assert stored["num_stored"] == 32


def test_hot_cache__disabled__entries_are_gone_and_none_come(door: Door) -> None:
    door.request("POST", "/cache/store", params={"tokens_mock": "0,32"})
    assert door.request("PUT", "/hot_cache/disable").json() == {
        "status": "success",
        "hot_cache": False,
        "message": "Hot cache disabled successfully",
    }
    assert door.get("/hot_cache/status").json()["hot_cache"] is False
    door.request("POST", "/cache/store", params={"tokens_mock": "0,32"})
    door.request("PUT", "/hot_cache/enable")
    retrieved = door.request("POST", "/cache/retrieve", params={"tokens_mock": "0,32"}).json()
    assert retrieved["num_retrieved"] == 0


def test_agent_status__asked__tells_modes_and_usage(door: Door) -> None:
    door.request("POST", "/cache/store", params={"tokens_mock": "0,32"})
    document = door.get("/agent/status").json()
    assert (document["role"], document["worker_id"], document["freeze"]) == ("worker", 0, False)
    assert document["storage"]["LocalCPUBackend"]["chunks"] == 2


@pytest.mark.parametrize("endpoint", CATALOGUE, ids=[entry.operation_id for entry in CATALOGUE])
def test_scheduler__no_cache_engine__says_unavailable(
    scheduler_door: Door, endpoint: Endpoint
) -> None:
    params = {p.name: p.example for p in endpoint.parameters if p.required}
    body = {"json": {}} if endpoint.body_schema is not None else {}
    answer = scheduler_door.request(endpoint.method, endpoint.path, params=params, **body)
    if endpoint.component.value in ("cache_engine", "local_cpu_backend", "vllm"):
        assert answer.status_code == 503
        assert answer.json()["error"] == f"{endpoint.path} API is unavailable"
    else:
        assert answer.status_code == 200
