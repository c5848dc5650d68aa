import hashlib
import json
import logging
import math
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import KEYS, Applies, ConfigError, EngineConfig, FixedBecause
from engine.contract import schemas

MUTABLE = [name for name, key in KEYS.items() if key.mutable]


def test_load__no_source__gives_the_documented_defaults() -> None:
    config = EngineConfig.load()
    assert config.chunk_size == 256
    assert config.local_cpu is True
    assert config.max_local_cpu_size == 5.0
    assert config.cache_policy == "LRU"
    assert config.min_retrieve_tokens == 0
    assert config.internal_api_server_port_start == 6999
    assert config.internal_api_server_host == "127.0.0.1"
    assert config.internal_api_server_include_index_list is None
    assert list(config.snapshot()) == list(KEYS)


def test_load__all_sources_name_a_key__the_later_one_wins(tmp_path: Path) -> None:
    file = tmp_path / "kvplane.yaml"
    file.write_text("chunk_size: 1\nnum_layers: 1\nhead_size: 1\nnum_blocks: 1\n")
    environ = {"KVPLANE_NUM_LAYERS": "2", "KVPLANE_HEAD_SIZE": "2", "KVPLANE_NUM_BLOCKS": "2"}
    extra = {"head_size": 3, "num_blocks": 3}
    config = EngineConfig.load(file, environ, extra, {"num_blocks": 4})
    assert (config.chunk_size, config.num_layers, config.head_size, config.num_blocks) == (
        1,
        2,
        3,
        4,
    )


def test_load__file_named_by_the_environment__is_read(tmp_path: Path) -> None:
    file = tmp_path / "kvplane.yaml"
    file.write_text("chunk_size: 32\n")
    assert EngineConfig.load(environ={"KVPLANE_CONFIG_FILE": str(file)}).chunk_size == 32


def test_load__empty_file__gives_defaults(tmp_path: Path) -> None:
    file = tmp_path / "kvplane.yaml"
    file.write_text("")
    assert EngineConfig.load(file).chunk_size == 256


@pytest.mark.parametrize("content", ["- a\n", "a: [\n", "just text\n"])
def test_load__file_is_not_a_mapping__names_the_file(tmp_path: Path, content: str) -> None:
    file = tmp_path / "kvplane.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=r"kvplane\.yaml"):
        EngineConfig.load(file)


def test_load__file_is_missing__names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml"):
        EngineConfig.load(tmp_path / "gone.yaml")


def test_load__file_of_lmcache__logs_its_other_keys_once_and_loads(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "lmcache.yaml"
    file.write_text(
        "chunk_size: 64\nlocal_disk: 'file:///x/'\nmax_local_disk_size: 1\nremote_serde: naive\n"
        "retrieve_locations: null\nuse_gds: false\nenable_p2p: 1\n"
    )
    with caplog.at_level(logging.INFO, "engine.config"):
        config = EngineConfig.load(file)
    assert config.chunk_size == 64
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    assert "enable_p2p, use_gds" in lines[0]


@pytest.mark.parametrize("source", ["extra", "flags"])
def test_load__unknown_key__is_refused_naming_it(source: str) -> None:
    with pytest.raises(ConfigError, match="chunk_sice"):
        EngineConfig.load(**{source: {"chunk_sice": 1}})


def test_load__unknown_variable__is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    EngineConfig.load(environ={"KVPLANE_DATA_DIR": "/x", "OTHER": "1"})
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "KVPLANE_DATA_DIR" in caplog.text
    assert "OTHER" not in caplog.text


def test_load__invalid_value__names_key_source_and_reason() -> None:
    with pytest.raises(ConfigError, match=r"'chunk_size' from environment must be an integer"):
        EngineConfig.load(environ={"KVPLANE_CHUNK_SIZE": "many"})


def test_load__invalid_secret__is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        EngineConfig.load(environ={"KVPLANE_AGENT_TOKEN": "s3cret s3cret"})
    assert "agent_token" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"worker_ids": [1]}, "worker_ids"),
        ({"worker_ids": [0, 0]}, "worker_ids"),
        ({"internal_api_server_port_start": 65535}, "internal_api_server_port_start"),
        ({"use_mla": True}, "num_kv_heads"),
    ],
)
def test_load__values_contradict_each_other__names_the_key(
    flags: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        EngineConfig.load(flags=flags)


@pytest.mark.parametrize(
    ("name", "written", "value"),
    [
        ("chunk_size", "128", 128),
        ("chunk_size", " 128 ", 128),
        ("local_cpu", "true", True),
        ("local_cpu", "FALSE", False),
        ("local_cpu", "1", True),
        ("local_cpu", 0, False),
        ("max_local_cpu_size", 2, 2.0),
        ("max_local_cpu_size", "0.5", 0.5),
        ("worker_ids", "0", [0]),
        ("worker_ids", "[0]", [0]),
        ("worker_ids", (0,), [0]),
        ("worker_ids", "", []),
        ("worker_ids", "[]", []),
        ("internal_api_server_include_index_list", None, None),
        ("internal_api_server_include_index_list", "0, 2", [0, 2]),
        ("extra_config", '{"a": 1}', {"a": 1}),
        ("extra_config", None, None),
        ("controlplane_url", "http://10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("agent_token", "kvp_x-1", "kvp_x-1"),
    ],
)
def test_load__value_of_another_spelling__is_converted(
    name: str, written: object, value: object
) -> None:
    assert EngineConfig.load(flags={name: written}).values[name] == value


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("chunk_size", 3.9),
        ("chunk_size", 3.0),
        ("chunk_size", True),
        ("chunk_size", None),
        ("chunk_size", -5),
        ("chunk_size", 0),
        ("chunk_size", "1e3"),
        ("chunk_size", "9" * 19),
        ("chunk_size", 10**40),
        ("chunk_size", [1]),
        ("max_local_cpu_size", -5),
        ("max_local_cpu_size", math.nan),
        ("max_local_cpu_size", "inf"),
        ("max_local_cpu_size", True),
        ("max_local_cpu_size", 10**400),
        ("local_cpu", 2),
        ("local_cpu", "yes"),
        ("local_cpu", 1.0),
        ("local_cpu", None),
        ("cache_policy", "lru"),
        ("model_name", ""),
        ("model_name", 7),
        ("model_name", "a\nb"),
        ("worker_ids", "0,,1"),
        ("worker_ids", [True]),
        ("worker_ids", [-1]),
        ("worker_ids", {"a": 1}),
        ("extra_config", "[1]"),
        ("extra_config", "{"),
        ("extra_config", {1: 2}),
        ("extra_config", {"a": math.nan}),
        ("controlplane_url", "ftp://x"),
        ("controlplane_url", "http://user:pass@x"),
        ("controlplane_url", "http://x:99999"),
        ("controlplane_url", "x"),
        ("controlplane_url", "http://x/?y"),
        ("controlplane_url", "http://x y"),
        ("controlplane_url", "http://x\n"),
        ("controlplane_url", "http://xn--zz--"),
        ("controlplane_url", "http://300.300.300.300"),
        ("internal_api_server_port_start", 0),
    ],
)
def test_load__value_that_does_not_fit__is_refused_naming_the_key(
    name: str, written: object
) -> None:
    with pytest.raises(ConfigError, match=name):
        EngineConfig.load(flags={name: written})


def test_update__some_keys_are_refused__sets_the_others_and_says_why() -> None:
    config = EngineConfig.load()
    outcome = config.update(
        {
            "min_retrieve_tokens": "512",
            "chunk_size": "not even a number",
            "chunk_sice": None,
            "save_decode_cache": None,
            "save_unfull_chunk": "true",
        }
    )
    assert outcome.updated == {"min_retrieve_tokens": 512, "save_unfull_chunk": True}
    assert outcome.errors == {
        "chunk_size": "Config is not mutable at runtime",
        "chunk_sice": "Unknown config",
        "save_decode_cache": "Failed to set config value: must not be null",
    }
    assert config.min_retrieve_tokens == 512
    assert config.save_unfull_chunk is True
    assert config.chunk_size == 256


def test_update_atomically__one_key_is_refused__sets_none() -> None:
    config = EngineConfig.load()
    before = config.snapshot()
    outcome = config.update_atomically({"min_retrieve_tokens": 5, "nonsense": 1})
    assert outcome.updated == {}
    assert outcome.errors == {"nonsense": "Unknown config"}
    assert config.snapshot() == before
    assert config.generation == 0


def test_update_atomically__all_keys_are_good__sets_all() -> None:
    config = EngineConfig.load()
    outcome = config.update_atomically({"min_retrieve_tokens": 5, "save_decode_cache": 1})
    assert outcome.updated == {"min_retrieve_tokens": 5, "save_decode_cache": True}
    assert outcome.errors == {}
    assert config.generation == 1


@pytest.mark.parametrize("name", [name for name in KEYS if name not in MUTABLE])
def test_update__immutable_key__is_refused_even_with_its_own_value(name: str) -> None:
    config = EngineConfig.load()
    outcome = config.update({name: config.values[name]})
    assert outcome.errors == {name: "Config is not mutable at runtime"}


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*KEYS, "nonsense"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(alphabet="01.-+eE truefalsn", max_size=8)
        | st.lists(st.integers(), max_size=2),
    )
)
def test_update__anything__every_key_is_updated_or_explained(changes: dict[str, object]) -> None:
    config = EngineConfig.load()
    before = dict(config.values)
    outcome = config.update(changes)
    assert set(outcome.updated) | set(outcome.errors) == set(changes)
    assert not set(outcome.updated) & set(outcome.errors)
    assert dict(config.values) == {**before, **outcome.updated}
    json.dumps(config.snapshot(), allow_nan=False)


def test_generation__update_changes_nothing__stays() -> None:
    config = EngineConfig.load()
    config.update({"min_retrieve_tokens": 0})
    config.update({"nonsense": 0})
    assert config.generation == 0
    config.update({"min_retrieve_tokens": 1, "save_decode_cache": True})
    assert config.generation == 1


def test_subscribe__key_changes__is_called_with_the_value_that_reads_true() -> None:
    config = EngineConfig.load()
    seen: list[tuple[object, int]] = []
    config.subscribe(
        "min_retrieve_tokens", lambda value: seen.append((value, config.min_retrieve_tokens))
    )
    config.update({"min_retrieve_tokens": "7"})
    config.update({"min_retrieve_tokens": 7})
    config.update({"save_decode_cache": True})
    config.update_atomically({"min_retrieve_tokens": 8, "nonsense": 1})
    assert seen == [(7, 7)]


def test_subscribe__unknown_key__is_refused() -> None:
    with pytest.raises(KeyError):
        EngineConfig.load().subscribe("nonsense", print)


def test_snapshot__secret_is_set__is_hidden_and_none_is_not() -> None:
    snapshot = EngineConfig.load(flags={"agent_token": "s3cret"}).snapshot()
    assert snapshot["agent_token"] == "***"
    assert snapshot["enrolment_token"] is None


def test_snapshot__changed_by_the_caller__leaves_the_configuration_alone() -> None:
    config = EngineConfig.load(flags={"extra_config": {"a": [1]}})
    snapshot = config.snapshot()
    snapshot["extra_config"]["a"].append(2)  # type: ignore[index]
    assert config.extra_config == {"a": [1]}


def test_attribute__assigned__is_refused() -> None:
    config = EngineConfig.load()
    with pytest.raises(AttributeError, match="update"):
        config.min_retrieve_tokens = 3
    assert config.min_retrieve_tokens == 0


def test_conf_hash__values_differ__differs_also_for_secrets() -> None:
    plain = EngineConfig.load()
    assert plain.conf_hash() == EngineConfig.load().conf_hash()
    assert len(plain.conf_hash()) == hashlib.sha256().digest_size * 2
    assert plain.conf_hash() != EngineConfig.load(flags={"agent_token": "a"}).conf_hash()
    before = plain.conf_hash()
    plain.update({"min_retrieve_tokens": 1})
    changed = plain.conf_hash()
    plain.update({"min_retrieve_tokens": 0})
    assert changed != before == plain.conf_hash()


def test_schema__every_key__has_the_fields_of_the_contract() -> None:
    described = EngineConfig.load().schema()["keys"]
    fields = schemas.CONF_SCHEMA["properties"]["keys"]["additionalProperties"]["required"]  # type: ignore[index]
    assert list(described) == list(KEYS)  # type: ignore[call-overload]
    for description in described.values():  # type: ignore[attr-defined]
        assert set(description) == set(fields)
        assert description["mutable"] == (description["applies"] != Applies.NEVER)
        assert description["help"]


def test_update__many_threads__readers_never_see_half_an_atomic_update() -> None:
    config = EngineConfig.load()
    torn: list[tuple[object, object]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            values = config.values
            if values["save_decode_cache"] != bool(values["min_retrieve_tokens"]):
                torn.append((values["save_decode_cache"], values["min_retrieve_tokens"]))

    def write() -> None:
        for turn in range(300):
            on = turn % 2
            config.update_atomically({"min_retrieve_tokens": on, "save_decode_cache": on})

    reader = threading.Thread(target=read)
    reader.start()
    writers = [threading.Thread(target=write) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert torn == []


def test_update__many_threads__every_change_is_counted_and_announced() -> None:
    config = EngineConfig.load()
    announced: list[object] = []
    config.subscribe("min_retrieve_tokens", announced.append)

    def write(base: int) -> None:
        for step in range(200):
            config.update({"min_retrieve_tokens": base + step})

    writers = [threading.Thread(target=write, args=(1000 * (n + 1),)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert config.generation == len(announced) == 600
    assert announced[-1] == config.min_retrieve_tokens


@pytest.mark.parametrize(
    "written",
    [
        "enrolment_token: hunter2: x",
        'agent_token: "hunter2\nchunk_size: 1',
        "chunk_size: 2024-13-45",
        "chunk_size: " + "9" * 5_000,
        "[" * 5_000,
        "? [hunter2]\n: 1",
        "agent_token: !hunter 2",
        "a: \x00",
    ],
)
def test_load__file_is_no_yaml__is_refused_naming_the_file_and_showing_no_line(
    tmp_path: Path, written: str
) -> None:
    file = tmp_path / "kvplane.yaml"
    file.write_text(written)
    with pytest.raises(ConfigError) as refused:
        EngineConfig.load(file)
    assert str(file) in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_update__key_that_is_fixed_in_this_process__is_refused_and_described_so() -> None:
    config = EngineConfig.load(fixed={"save_unfull_chunk": FixedBecause.BLOCKS})
    update = config.update({"save_unfull_chunk": True, "min_retrieve_tokens": 5})
    assert update.updated == {"min_retrieve_tokens": 5}
    assert update.errors == {"save_unfull_chunk": "Config is not mutable at runtime"}
    described = config.schema()["keys"]["save_unfull_chunk"]
    assert (described["mutable"], described["applies"]) == (False, "never")
    assert "whole blocks" in described["help"]
    assert EngineConfig.load().update({"save_unfull_chunk": True}).errors == {}


def test_load__file_is_no_yaml__says_where(tmp_path: Path) -> None:
    file = tmp_path / "kvplane.yaml"
    file.write_text("chunk_size: 1\nmodel_name: a: b\n")
    with pytest.raises(ConfigError, match="line 2, column 14"):
        EngineConfig.load(file)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("fs:///shared/kv", "fs:///shared/kv"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://user:hunter2@h:6379/0", "redis://***@h:6379/0"),
        ("rediss://:hunter2@h?password=hunter2&db=1", "rediss://***@h?password=***&db=1"),
        ("redis://a@b:hunter2@h", "redis://***@h"),
        ("redis://user:hunt/er2@h:6379/0", "redis://***@h:6379/0"),
        ("redis://:hunt#er?2@h", "redis://***@h"),
        ("fs:///shared/kv@site", "fs:///shared/kv@site"),
    ],
)
def test_snapshot__credentials_in_remote_url__are_hidden(written: str, shown: str) -> None:
    config = EngineConfig.load(flags={"remote_url": written})
    assert config.snapshot()["remote_url"] == shown
    assert config.remote_url == written


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ({"remote_url": "h:6379"}, "remote_url"),
        ({"local_disk": "a,/b", "max_local_disk_size": 1}, "local_disk"),
        ({"local_disk": "/a"}, "max_local_disk_size"),
        ({"retrieve_locations": ["LocalCPUBackend", "Attic"]}, "retrieve_locations"),
        ({"store_location": "Attic"}, "store_location"),
        ({"lazy_memory_step_ratio": 0}, "lazy_memory_step_ratio"),
    ],
)
def test_load__bad_storage_key__is_refused_naming_it(
    written: dict[str, object], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        EngineConfig.load(flags=written)


def test_load__lists_from_the_environment__are_read() -> None:
    config = EngineConfig.load(
        environ={"KVPLANE_RETRIEVE_LOCATIONS": "LocalCPUBackend, RemoteBackend"}
    )
    assert config.retrieve_locations == ["LocalCPUBackend", "RemoteBackend"]
