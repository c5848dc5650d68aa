"""`POST /cache/load-fs-chunks`: chunk files of one engine warm another."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from engine.agent.agent import Agent
from engine.agent.app import create_app
from engine.contract import TokenRange
from tests.engine.agent.conftest import MakeAgent

ERROR = "Failed to load chunks from FSConnector"
NUM_CHUNKS = 3


@pytest.fixture
def shared(make_worker: MakeAgent, tmp_path: Path) -> Path:
    """A shared directory with the chunks of 48 tokens, written by another engine."""
    directory = tmp_path / "shared"
    writer = make_worker(remote_url=f"fs://{directory}").cache
    writer.store_mock(TokenRange(0, 48))
    assert writer.storage.flush(30)
    writer.close()
    return directory


@pytest.fixture
def config_file(tmp_path: Path, shared: Path) -> Path:
    file = tmp_path / "conf" / "lmcache.yaml"
    file.parent.mkdir()
    file.write_text(f"chunk_size: 16\nremote_url: 'fs://{shared}'\n")
    return file


@pytest.fixture
def agent(make_worker: MakeAgent, tmp_path: Path) -> Iterator[Agent]:
    agent = make_worker(config_dirs=[str(tmp_path / "conf")])
    yield agent
    agent.cache.close()


def checksums(client: TestClient) -> list[str]:
    query = {"slot_mapping": "[0,63]", "chunk_size": "16"}
    return client.get("/cache/kvcache/check", params=query).json()["chunk_checksums"]


def files(shared: Path) -> list[Path]:
    return sorted(shared.rglob("*.kvchunk"))


def load(client: TestClient, config_file: Path, **more: object) -> dict[str, object]:
    answer = client.post("/cache/load-fs-chunks", json={"config_path": str(config_file), **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(client: TestClient, body: dict[str, object]) -> str:
    answer = client.post("/cache/load-fs-chunks", json=body)
    assert answer.status_code == 400, answer.text
    document = answer.json()
    assert document["error"] == ERROR
    assert document["config_path"] == (body.get("config_path") or "")
    return str(document["message"])


def test_load__files_of_another_engine__are_in_the_hot_cache_byte_for_byte(
    client: TestClient, agent: Agent, config_file: Path
) -> None:
    original = checksums(client)
    answer = load(client, config_file)
    assert answer == {
        "status": "success",
        "loaded_chunks": NUM_CHUNKS,
        "total_files": NUM_CHUNKS,
        "failed_keys": [],
        "config_path": str(config_file),
    }
    agent.cache.kv_cache.fill_random(seed=9)
    assert client.post("/cache/retrieve?tokens_mock=0,48").json()["num_retrieved"] == 48
    assert checksums(client)[:NUM_CHUNKS] == original[:NUM_CHUNKS]
    assert load(client, config_file)["loaded_chunks"] == 0


def test_load__max_chunks__is_the_limit(client: TestClient, config_file: Path) -> None:
    assert load(client, config_file, max_chunks=0)["loaded_chunks"] == 0
    assert load(client, config_file, max_chunks=2)["loaded_chunks"] == 2
    assert load(client, config_file, max_chunks=None)["loaded_chunks"] == 1


def damage_truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def damage_empty(file: Path) -> None:
    file.write_bytes(b"")


def damage_flip_header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[70] ^= 1
    file.write_bytes(content)


def damage_flip_payload(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage", [damage_truncate, damage_empty, damage_flip_header, damage_flip_payload]
)
def test_load__broken_file__is_a_failed_key_and_the_others_are_loaded(
    client: TestClient, config_file: Path, shared: Path, damage: Callable[[Path], None]
) -> None:
    broken = files(shared)[1]
    damage(broken)
    answer = load(client, config_file)
    assert answer["loaded_chunks"] == NUM_CHUNKS - 1
    assert answer["total_files"] == NUM_CHUNKS
    assert answer["failed_keys"] in ([broken.name], [broken.stem])


def test_load__another_models_files__are_failed_keys(
    make_worker: MakeAgent, tmp_path: Path, config_file: Path
) -> None:
    for settings in ({"model_name": "another"}, {"num_layers": 3}, {"kv_dtype": "float16"}):
        other = make_worker(config_dirs=[str(tmp_path / "conf")], **settings)
        client = TestClient(create_app(other), base_url="http://127.0.0.1:7000")
        answer = load(client, config_file, max_failed_keys=2)
        assert answer["loaded_chunks"] == 0
        assert answer["total_files"] == NUM_CHUNKS
        assert len(answer["failed_keys"]) == 2
        other.workers.abandon()
        other.cache.close()


def test_load__hot_cache_full__stops_without_evicting(
    make_worker: MakeAgent, tmp_path: Path, config_file: Path
) -> None:
    small = make_worker(
        config_dirs=[str(tmp_path / "conf")], max_local_cpu_size=2 * 4096 / (1 << 30) + 1e-12
    )
    client = TestClient(create_app(small), base_url="http://127.0.0.1:7000")
    client.post("/cache/store?tokens_mock=1000,1016")
    kept = small.cache.storage.local_cpu.keys()
    assert load(client, config_file)["loaded_chunks"] == 1
    assert small.cache.storage.local_cpu.contains(kept) == [True]
    small.workers.abandon()
    small.cache.close()


@pytest.mark.parametrize(
    ("close", "reason"),
    [
        ("/freeze/enable", "frozen"),
        ("/hot_cache/disable", "hot_cache_off"),
        ("/bypass/add?backend_name=LocalCPUBackend", "bypassed"),
    ],
)
def test_load__hot_cache_takes_nothing__is_refused(
    client: TestClient, config_file: Path, close: str, reason: str
) -> None:
    client.put(close)
    assert reason in refusal(client, {"config_path": str(config_file), "max_chunks": 0})


def test_load__file_is_outside_the_permitted_directories__is_refused_unread(
    client: TestClient, tmp_path: Path, config_file: Path
) -> None:
    outside = tmp_path / "outside.yaml"
    missing = refusal(client, {"config_path": str(outside)})
    outside.write_text(config_file.read_text())
    assert refusal(client, {"config_path": str(outside)}) == missing
    assert "config_dirs" in missing
    link = config_file.parent / "link.yaml"
    link.symlink_to(outside)
    assert refusal(client, {"config_path": str(link)}) == missing
    assert refusal(client, {"config_path": f"{config_file.parent}/../outside.yaml"}) == missing


def test_load__file_cannot_be_used__says_why(client: TestClient, config_file: Path) -> None:
    directory = config_file.parent
    path = str(config_file)
    assert refusal(client, {"config_path": f"{directory}/none.yaml"}) == (
        "Configuration file not found"
    )
    assert "cannot be read" in refusal(client, {"config_path": str(directory)})
    os.mkfifo(directory / "pipe")
    assert "cannot be read" in refusal(client, {"config_path": f"{directory}/pipe"})
    assert refusal(client, {"config_path": f"{directory}/{'n' * 300}"})
    for content in ("a: [", "\0", "x: !!python/object:os.system {}"):
        config_file.write_text(content)
        assert "not YAML" in refusal(client, {"config_path": path})
    config_file.write_bytes(b"\xff\xfe\xfa")
    assert "not YAML" in refusal(client, {"config_path": path})
    for content in ("", "[]", "remote_url:", "remote_url: 5", "chunk_size: 1"):
        config_file.write_text(content)
        assert "remote_url" in refusal(client, {"config_path": path})
    for url in ("redis://x:1", "fs://", "fs:///x?y=z", "/x"):
        config_file.write_text(f"remote_url: '{url}'")
        refusal(client, {"config_path": path})
    config_file.write_text(f"remote_url: 'fs://{directory}/nowhere'")
    assert "cannot be read" in refusal(client, {"config_path": path})


@pytest.mark.parametrize(
    "fields",
    [
        {"max_chunks": -1},
        {"max_chunks": "3"},
        {"max_chunks": True},
        {"max_chunks": 1.5},
        {"max_failed_keys": -1},
        {"max_failed_keys": []},
    ],
)
def test_load__bad_number__names_the_field(
    client: TestClient, config_file: Path, fields: dict[str, object]
) -> None:
    message = refusal(client, {"config_path": str(config_file), **fields})
    assert next(iter(fields)) in message


@pytest.mark.parametrize("path", [None, "", "  ", "\x00"])
def test_load__no_path__is_refused(client: TestClient, path: str | None) -> None:
    body = {} if path is None else {"config_path": path}
    answer = client.post("/cache/load-fs-chunks", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == ERROR
    assert "config_path" in answer.json()["message"]
