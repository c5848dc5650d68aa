"""Every documented endpoint through the generated client: of an agent that is named as a
parameter, one call after the other; and of one in the path, awaited."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import ModuleType

import pytest
from kvplane_client import AuthenticatedClient
from kvplane_client.models import ChunksToLoad, ConfValues
from kvplane_client.types import Response

from engine.contract import CATALOGUE, Endpoint
from tests.functional.conftest import CHUNK, Stack

pytestmark = pytest.mark.slow

SCHEDULER, WORKER = "smollm2-scheduler", "smollm2-worker-1"
STORED = 2 * CHUNK


@dataclass(frozen=True)
class Call:
    """Whom to ask, with what, and what the answer has."""

    agent: str = WORKER
    options: Mapping[str, object] = field(default_factory=dict)
    expected: Mapping[str, object] = field(default_factory=dict)
    status: int = 200


def values(**settings: object) -> ConfValues:
    return ConfValues.from_dict(settings)


RANGE = {"tokens_mock": f"0,{STORED}"}
BACKEND = {"backend_name": "RemoteBackend"}
OK = {"status": "success"}
CALLS = {
    "get_lmc_version": Call(),
    "get_commit_id": Call(),
    "get_version": Call(),
    "get_inference_info": Call(expected={"role": "worker", "worker_id": 1, "vllm_config": None}),
    # There is no vLLM in these agents.
    "get_inference_version": Call(
        expected={"error": "/inference_version API is unavailable"}, status=503
    ),
    "get_conf": Call(options={"names": "chunk_size"}, expected={"chunk_size": CHUNK}),
    "update_conf": Call(
        options={"body": values(min_retrieve_tokens=3), "atomic": True},
        expected={"updated": {"min_retrieve_tokens": 3}},
    ),
    "get_conf_schema": Call(),
    "get_meta": Call(expected={"worker_id": 1, "world_size": 2, "kv_dtype": "float32"}),
    "clear_cache": Call(options={"locations": ["LocalCPUBackend"]}, expected=OK),
    "store_cache": Call(options=RANGE, expected={**OK, "num_tokens": STORED}),
    "retrieve_cache": Call(options=RANGE, expected={**OK, "num_tokens": STORED}),
    "check_kvcache": Call(
        options={"slot_mapping": "0,1,[4,7]", "chunk_size": 2, "layerwise": True},
        expected={"num_chunks": 3, "slot_mapping_ranges": [0, 1, [4, 7]], "layerwise": True},
    ),
    "record_slot": Call(options={"enabled": False}, expected={"kvcache_check_log_enabled": False}),
    "get_kvcache_info": Call(expected={**OK, "num_layers": 2}),
    "load_fs_chunks": Call(expected={**OK, "loaded_chunks": 0, "failed_keys": []}),
    "enable_freeze": Call(options={"expires_in_s": 3600.0}, expected={"freeze": True}),
    "disable_freeze": Call(options={"reason": "geprüft: 完了"}, expected={"freeze": False}),
    "get_freeze_status": Call(expected=OK),
    "enable_hot_cache": Call(expected={"hot_cache": True}),
    "disable_hot_cache": Call(expected={"hot_cache": False}),
    "get_hot_cache_status": Call(expected=OK),
    "list_bypassed": Call(expected={"all_backends": ["LocalCPUBackend", "RemoteBackend"]}),
    "add_bypass": Call(options=BACKEND, expected={"bypassed": True}),
    "remove_bypass": Call(options=BACKEND, expected={"bypassed": False}),
    "get_lookup_info": Call(expected={"server": "LMCacheLookupServer", "role": "worker"}),
    "close_lookup": Call(options={"dryrun": True}, expected={"dryrun": True}),
    "create_lookup": Call(expected={"new": "LMCacheLookupServer"}),
    "recreate_lookup": Call(expected={"new": "LMCacheLookupServer"}),
    "query_lookup": Call(SCHEDULER, options=RANGE, expected={**OK, "num_tokens": STORED}),
    "start_chunk_statistics": Call(SCHEDULER, expected=OK),
    "stop_chunk_statistics": Call(SCHEDULER, expected=OK),
    "reset_chunk_statistics": Call(SCHEDULER, expected=OK),
    "get_chunk_statistics_status": Call(SCHEDULER, expected={"strategy": "memory_bloom_filter"}),
    "get_agent_status": Call(expected={"role": "worker", "worker_id": 1, "instance_id": "smollm2"}),
}
every_endpoint = pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.operation_id)


@pytest.fixture
def config_path(stack: Stack) -> str:
    path = stack.directory / "chunks.yaml"
    empty = stack.directory / "empty"
    empty.mkdir(exist_ok=True)
    path.write_text(f"remote_url: fs://{empty}\n")
    return str(path)


@pytest.fixture(autouse=True)
def _hot_cache_is_on(operator: AuthenticatedClient) -> None:
    enable = module("hot_cache", "enable_hot_cache_of_agent")
    assert enable.sync(WORKER, client=operator).hot_cache is True


def module(group: str, operation_id: str) -> ModuleType:
    return import_module(f"kvplane_client.api.{group}.{operation_id}")


def options_of(entry: Endpoint, config_path: str) -> dict[str, object]:
    if entry.operation_id == "load_fs_chunks":
        return {"body": ChunksToLoad(config_path=config_path)}
    return dict(CALLS[entry.operation_id].options)


def check(entry: Endpoint, answer: Response) -> None:
    call = CALLS[entry.operation_id]
    assert answer.status_code == call.status, answer.content
    if entry.media_type == "text/plain":
        assert answer.parsed == answer.content.decode()
        return
    document = answer.parsed.to_dict()
    assert {name: document[name] for name in call.expected} == dict(call.expected)
    if entry.action is not None and "dryrun" not in call.options:
        assert answer.headers["X-KVPlane-Operation"]


@every_endpoint
def test_documented_endpoint__agent_as_a_parameter__answers_with_its_type(
    operator: AuthenticatedClient, config_path: str, entry: Endpoint
) -> None:
    call = module(entry.group, entry.operation_id)
    agent = CALLS[entry.operation_id].agent
    answer = call.sync_detailed(client=operator, agent=agent, **options_of(entry, config_path))
    check(entry, answer)


@every_endpoint
def test_documented_endpoint__agent_in_the_path__answers_the_same_when_awaited(
    stack: Stack, tokens: dict[str, str], config_path: str, entry: Endpoint
) -> None:
    call = module(entry.group, f"{entry.operation_id}_of_agent")
    agent = CALLS[entry.operation_id].agent

    async def ask() -> Response:
        async with stack.async_client(tokens["operator"]) as client:
            return await call.asyncio_detailed(
                agent, client=client, **options_of(entry, config_path)
            )

    check(entry, asyncio.run(ask()))
