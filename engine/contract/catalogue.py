"""Every endpoint of the contract, as data.

The agent routes by it, the control plane makes its viewsets and forms from it,
both OpenAPI documents are written from it, and the contract tests walk it. The
documented part is LMCache's "vLLM / Inference APIs".
"""

from types import MappingProxyType

from engine.contract import schemas
from engine.contract.endpoint import (
    Component,
    Endpoint,
    ErrorCase,
    Group,
    Kind,
    Origin,
    Parameter,
)
from engine.contract.lookup_endpoints import CHUNK_STATISTICS, LOOKUP

_TOKENS_MOCK = Parameter(
    "tokens_mock",
    Kind.TOKEN_RANGE,
    'Two comma-separated numbers, "start,end"; "0,100" stands for the tokens 0 to 99.',
    example="0,100",
    required=True,
)
_NAMES = Parameter(
    "names", Kind.NAMES, "Comma-separated names to show; all without it.", example="chunk_size"
)
_MISSING_TOKENS = ErrorCase(
    400,
    "tokens_mock is missing",
    {
        "error": "Missing parameters",
        "message": "Must specify either tokens_input or tokens_mock",
    },
)
_TOO_MANY_TOKENS = ErrorCase(
    400,
    "More tokens than the paged KV cache has slots",
    {
        "error": "Invalid parameter",
        "message": "'tokens_mock' names 5000 tokens but the KV cache has 4096 slots; "
        "ask for at most 4096.",
    },
)

_VERSION = [
    Endpoint(
        "get_lmc_version",
        Group.VERSION,
        "GET",
        "/lmc_version",
        "Engine version",
        "The version of the cache engine, as a bare string.",
        schemas.TEXT,
        "0.1.0",
        media_type="text/plain",
    ),
    Endpoint(
        "get_commit_id",
        Group.VERSION,
        "GET",
        "/commit_id",
        "Commit id",
        "The git commit that the engine was built from, or `unknown`.",
        schemas.TEXT,
        "4f1c2d9",
        media_type="text/plain",
    ),
    Endpoint(
        "get_version",
        Group.VERSION,
        "GET",
        "/version",
        "Full version",
        "Version and commit id, joined by a hyphen.",
        schemas.TEXT,
        "0.1.0-4f1c2d9",
        media_type="text/plain",
    ),
]

_INFO = [
    Endpoint(
        "get_inference_info",
        Group.INFO,
        "GET",
        "/inference_info",
        "Inference information",
        "vLLM's version and the part of its configuration that matters to a KV cache, "
        "the engine's version, role and worker id. Never secrets, never the environment.",
        schemas.INFERENCE_INFO,
        {
            "vllm_version": None,
            "engine_version": "0.1.0",
            "vllm_config": None,
            "role": "worker",
            "worker_id": 0,
        },
        parameters=(Parameter("format", Kind.STRING, "Reserved for future use.", example="json"),),
    ),
    Endpoint(
        "get_inference_version",
        Group.INFO,
        "GET",
        "/inference_version",
        "vLLM version",
        "The version of the vLLM in this process; 503 if there is none.",
        schemas.INFERENCE_VERSION,
        {"vllm_version": "0.32.0"},
        component=Component.VLLM,
    ),
]

_CONF = [
    Endpoint(
        "get_conf",
        Group.CONF,
        "GET",
        "/conf",
        "Read the configuration",
        "Current values in the order asked. Secrets are shown as `***`.",
        schemas.CONF_VALUES,
        {"min_retrieve_tokens": 0, "save_decode_cache": False},
        parameters=(_NAMES,),
        errors=(
            ErrorCase(
                400,
                "A name is unknown",
                {"error": "Unknown config", "message": "No configuration key 'chunk_sice'."},
            ),
        ),
    ),
    Endpoint(
        "update_conf",
        Group.CONF,
        "POST",
        "/conf",
        "Change the configuration",
        "Sets each key that can be set and says for each other why not; 400 if any was "
        "refused, with what was set still listed. `atomic=true` sets all or none.",
        schemas.CONF_UPDATED,
        {"updated": {"min_retrieve_tokens": 512, "save_decode_cache": True}},
        action="conf.update",
        parameters=(
            Parameter(
                "atomic",
                Kind.BOOLEAN,
                "Set all keys or, if one is refused, none.",
                example="true",
                default="false",
                origin=Origin.KVPLANE,
            ),
        ),
        body_schema=schemas.CONF_VALUES,
        body_example={"min_retrieve_tokens": 512, "save_decode_cache": True},
        errors=(
            ErrorCase(
                400,
                "A key was refused",
                {
                    "updated": {"min_retrieve_tokens": 512},
                    "errors": {"unknown_key": "Unknown config"},
                },
            ),
        ),
    ),
    Endpoint(
        "get_conf_schema",
        Group.CONF,
        "GET",
        "/conf/schema",
        "Describe the configuration",
        "For every key its type, range, default, whether and when a change applies, "
        "whether it is secret, and a line of help.",
        schemas.CONF_SCHEMA,
        {
            "keys": {
                "min_retrieve_tokens": {
                    "type": "int",
                    "optional": False,
                    "default": 0,
                    "minimum": 0,
                    "maximum": None,
                    "choices": None,
                    "mutable": True,
                    "applies": "now",
                    "secret": False,
                    "help": "Shorter cached prefixes are recomputed, not retrieved.",
                }
            }
        },
        origin=Origin.KVPLANE,
    ),
]

_META = [
    Endpoint(
        "get_meta",
        Group.META,
        "GET",
        "/meta",
        "Engine metadata",
        "What the engine caches for: model, role, worker, KV dtype, shape and format.",
        schemas.METADATA,
        {"worker_id": 0, "model_name": "HuggingFaceTB/SmolLM2-135M-Instruct"},
        parameters=(_NAMES,),
        errors=(
            ErrorCase(
                400,
                "A name is unknown",
                {"error": "Unknown metadata", "message": "No metadata attribute 'wroker_id'."},
            ),
        ),
    ),
]

_CACHE = [
    Endpoint(
        "clear_cache",
        Group.CACHE,
        "DELETE",
        "/cache/clear",
        "Clear the cache",
        "Removes every chunk from every named backend, or from all. Allowed while frozen: "
        "freeze stops admission and eviction, not an operator's explicit order.",
        schemas.CLEARED,
        {"status": "success", "num_removed": 10, "removed": {"LocalCPUBackend": 10}},
        component=Component.CACHE_ENGINE,
        action="cache.clear",
        parameters=(
            Parameter(
                "locations",
                Kind.STRINGS,
                "Backends to clear; repeat the parameter for several. All without it.",
                example="LocalCPUBackend",
            ),
        ),
        errors=(
            ErrorCase(
                400,
                "A location is unknown",
                {
                    "error": "Unknown backend",
                    "message": "Backend 'FooBackend' not found. Available: ['LocalCPUBackend']",
                },
            ),
        ),
    ),
    Endpoint(
        "store_cache",
        Group.CACHE,
        "POST",
        "/cache/store",
        "Store KV",
        "Gathers slots 0 … n-1 of the paged KV cache into chunks under mock tokens.",
        schemas.STORED,
        {"status": "success", "num_tokens": 100, "num_stored": 100},
        component=Component.CACHE_ENGINE,
        action="cache.store",
        parameters=(_TOKENS_MOCK,),
        errors=(_MISSING_TOKENS, _TOO_MANY_TOKENS),
    ),
    Endpoint(
        "retrieve_cache",
        Group.CACHE,
        "POST",
        "/cache/retrieve",
        "Retrieve KV",
        "Scatters the longest cached prefix of mock tokens back to slots 0 … n-1.",
        schemas.RETRIEVED,
        {"status": "success", "num_tokens": 100, "num_retrieved": 80},
        component=Component.CACHE_ENGINE,
        action="cache.retrieve",
        parameters=(_TOKENS_MOCK,),
        errors=(_MISSING_TOKENS, _TOO_MANY_TOKENS),
    ),
    Endpoint(
        "check_kvcache",
        Group.CACHE,
        "GET",
        "/cache/kvcache/check",
        "Checksum KV",
        "MD5 of the paged KV at the given slots, chunk by chunk. bfloat16 is hashed as float32.",
        schemas.CHECKSUMS,
        {
            "status": "success",
            "slot_mapping_ranges": [[0, 3]],
            "chunk_size": 2,
            "num_chunks": 2,
            "chunk_checksums": [
                "19d8e27f6290436cb91339f25092d8b1",
                "434497434e193997e571b48a6f053043",
            ],
            "layerwise": False,
        },
        component=Component.CACHE_ENGINE,
        parameters=(
            Parameter(
                "slot_mapping",
                Kind.SLOT_MAPPING,
                "Slots, comma-separated; `[9,12]` stands for 9 to 12.",
                example="1,2,3,[9,12],17",
                required=True,
            ),
            Parameter(
                "chunk_size",
                Kind.INTEGER,
                "Slots in one checksum.",
                example="2",
                required=True,
                minimum=1,
            ),
            Parameter(
                "layerwise",
                Kind.BOOLEAN,
                "One checksum a layer and chunk.",
                example="true",
                default="false",
            ),
        ),
        errors=(
            ErrorCase(
                400,
                "A slot does not exist",
                {
                    "error": "Invalid parameter",
                    "message": "'slot_mapping': slot 4096 is out of bounds; "
                    "the KV cache has slots 0 to 4095.",
                },
            ),
        ),
    ),
    Endpoint(
        "record_slot",
        Group.CACHE,
        "POST",
        "/cache/kvcache/record_slot",
        "Toggle slot logging",
        "Logs request id, direction, token count and slots of every store and retrieve. "
        "Without `enabled` it only says whether it does.",
        schemas.RECORD_SLOT,
        {"status": "success", "kvcache_check_log_enabled": True},
        component=Component.CACHE_ENGINE,
        action="cache.record_slot",
        reads_without="enabled",
        parameters=(
            Parameter(
                "enabled",
                Kind.SWITCH,
                "`true` to log, `false` to stop; leave it out to ask.",
                example="true",
            ),
        ),
    ),
    Endpoint(
        "get_kvcache_info",
        Group.CACHE,
        "GET",
        "/cache/kvcache/info",
        "KV cache layout",
        "Layer names, shapes, dtype and device of the paged KV cache.",
        schemas.KVCACHE_INFO,
        {
            "status": "success",
            "num_layers": 32,
            "layers": {
                "layer_0": {
                    "shape": [2, 128, 16, 64, 128],
                    "dtype": "torch.bfloat16",
                    "device": "cuda:0",
                }
            },
        },
        component=Component.CACHE_ENGINE,
    ),
    Endpoint(
        "load_fs_chunks",
        Group.CACHE,
        "POST",
        "/cache/load-fs-chunks",
        "Load chunk files",
        "Loads chunk files of an `fs://` store into the hot cache, until that is full; nothing "
        "is evicted. A file that is broken, or another model's, is a failed key.",
        schemas.CHUNKS_LOADED,
        {
            "status": "success",
            "loaded_chunks": 95,
            "total_files": 100,
            "failed_keys": ["key1", "key2"],
            "config_path": "/path/to/lmcache.yaml",
        },
        component=Component.LOCAL_CPU_BACKEND,
        action="cache.load_fs_chunks",
        body_schema=schemas.CHUNKS_TO_LOAD,
        body_example={"config_path": "/path/to/lmcache.yaml", "max_chunks": 100},
        errors=(
            ErrorCase(
                400,
                "The configuration file cannot be used, or the hot cache takes nothing",
                {
                    "error": "Failed to load chunks from FSConnector",
                    "message": "Configuration file not found",
                    "config_path": "/path/to/lmcache.yaml",
                },
            ),
        ),
    ),
]


def _mode(
    group: Group, field: str, noun: str, component: Component, enable: str, disable: str
) -> list[Endpoint]:
    """The three endpoints of a mode that is on or off."""
    schema = schemas.mode_state(field)
    prefix = f"/{group.value}"

    def endpoint(
        method: str, verb: str, summary: str, description: str, example: object
    ) -> Endpoint:
        return Endpoint(
            f"{verb}_{group.value}" if verb != "status" else f"get_{group.value}_status",
            group,
            method,
            f"{prefix}/{verb}",
            summary,
            description,
            schema,
            example,
            component=component,
            action=None if method == "GET" else f"{group.value}.{verb}",
        )

    return [
        endpoint(
            "PUT",
            "enable",
            f"Enable {noun.lower()}",
            enable,
            {"status": "success", field: True, "message": f"{noun} enabled successfully"},
        ),
        endpoint(
            "PUT",
            "disable",
            f"Disable {noun.lower()}",
            disable,
            {"status": "success", field: False, "message": f"{noun} disabled successfully"},
        ),
        endpoint(
            "GET",
            "status",
            f"{noun} status",
            f"Whether {noun.lower()} is on.",
            {"status": "success", field: True, "message": f"{noun} is enabled"},
        ),
    ]


_FREEZE = _mode(
    Group.FREEZE,
    "freeze",
    "Freeze mode",
    Component.CACHE_ENGINE,
    "Nothing is stored in any tier, only LocalCPUBackend is read, and the local CPU "
    "cache does not change in any way, its order included.",
    "Store operations proceed normally.",
)

_HOT_CACHE = _mode(
    Group.HOT_CACHE,
    "hot_cache",
    "Hot cache",
    Component.LOCAL_CPU_BACKEND,
    "LocalCPUBackend takes chunks again, starting empty.",
    "Existing entries are cleared and nothing new is written; retrieval from other tiers goes on.",
)

_BACKEND_NAME = Parameter(
    "backend_name",
    Kind.STRING,
    "Name of a backend, as `/bypass/list` has it.",
    example="RemoteBackend",
    required=True,
)
_UNKNOWN_BACKEND = ErrorCase(
    400,
    "The backend is unknown",
    {
        "error": "Unknown backend",
        "message": "Backend 'FooBackend' not found. Available: "
        "['LocalCPUBackend', 'RemoteBackend']",
    },
)

_BYPASS = [
    Endpoint(
        "list_bypassed",
        Group.BYPASS,
        "GET",
        "/bypass/list",
        "List bypassed backends",
        "Which backends are bypassed, and which there are.",
        schemas.BYPASS_LIST,
        {
            "status": "success",
            "bypassed_backends": ["RemoteBackend"],
            "all_backends": ["LocalCPUBackend", "RemoteBackend"],
        },
        component=Component.CACHE_ENGINE,
    ),
    Endpoint(
        "add_bypass",
        Group.BYPASS,
        "PUT",
        "/bypass/add",
        "Bypass a backend",
        "The backend is neither read nor written, and gets no write-back; what it holds stays.",
        schemas.BYPASS_ADDED,
        {
            "status": "success",
            "backend_name": "RemoteBackend",
            "bypassed": True,
            "was_already_bypassed": False,
            "bypassed_backends": ["RemoteBackend"],
        },
        component=Component.CACHE_ENGINE,
        action="bypass.add",
        parameters=(_BACKEND_NAME,),
        errors=(_UNKNOWN_BACKEND,),
    ),
    Endpoint(
        "remove_bypass",
        Group.BYPASS,
        "PUT",
        "/bypass/remove",
        "Stop bypassing a backend",
        "The backend is read and written again.",
        schemas.BYPASS_REMOVED,
        {
            "status": "success",
            "backend_name": "RemoteBackend",
            "bypassed": False,
            "was_bypassed": True,
            "bypassed_backends": [],
        },
        component=Component.CACHE_ENGINE,
        action="bypass.remove",
        parameters=(_BACKEND_NAME,),
        errors=(_UNKNOWN_BACKEND,),
    ),
]

_AGENT = [
    Endpoint(
        "get_agent_status",
        Group.AGENT,
        "GET",
        "/agent/status",
        "Agent status",
        "Everything that a control loop compares, in one call.",
        schemas.AGENT_STATUS,
        {
            "boot_id": "8f14e45fceea167a5a36dedd4bea2543",
            "started_at": 1795000000.0,
            "role": "worker",
            "worker_id": 0,
            "instance_id": "smollm2",
            "versions": {"kvplane": "0.1.0", "torch": "2.13.0", "vllm": None},
            "generation": 3,
            "conf_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "freeze": False,
            "hot_cache": True,
            "bypassed_backends": [],
            "lookup": {"client": "None", "server": "LMCacheLookupServer"},
            "chunk_statistics": None,
            "storage": {
                "LocalCPUBackend": {
                    "capacity_bytes": 1073741824,
                    "used_bytes": 5898240,
                    "chunks": 1,
                    "looked_up_tokens": 768,
                    "hit_tokens": 512,
                }
            },
            "counters": {
                "stored_tokens": 256,
                "requested_tokens": 768,
                "retrieved_tokens": 512,
            },
        },
        origin=Origin.KVPLANE,
    ),
]

CATALOGUE: tuple[Endpoint, ...] = (
    *_VERSION,
    *_INFO,
    *_CONF,
    *_META,
    *_CACHE,
    *_FREEZE,
    *_HOT_CACHE,
    *_BYPASS,
    *LOOKUP,
    *CHUNK_STATISTICS,
    *_AGENT,
)

_BY_ID = MappingProxyType({entry.operation_id: entry for entry in CATALOGUE})


def endpoint(operation_id: str) -> Endpoint:
    """The endpoint of that operation id. Raises KeyError if there is none."""
    return _BY_ID[operation_id]
