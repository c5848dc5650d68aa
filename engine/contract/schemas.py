"""JSON Schemas (draft 2020-12, as OpenAPI 3.1 takes them) of the answers."""

from collections.abc import Mapping, Sequence

JSONSchema = Mapping[str, object]


def text(description: str = "") -> JSONSchema:
    return _described({"type": "string"}, description)


def integer(description: str = "", minimum: int | None = None) -> JSONSchema:
    schema: dict[str, object] = {"type": "integer"}
    if minimum is not None:
        schema["minimum"] = minimum
    return _described(schema, description)


def number(description: str = "") -> JSONSchema:
    return _described({"type": "number"}, description)


def boolean(description: str = "") -> JSONSchema:
    return _described({"type": "boolean"}, description)


def constant(value: str) -> JSONSchema:
    return {"type": "string", "const": value}


def choice(values: Sequence[str], description: str = "") -> JSONSchema:
    return _described({"type": "string", "enum": list(values)}, description)


def nullable(schema: JSONSchema) -> JSONSchema:
    if "title" in schema:
        return one_of(schema, {"type": "null"})
    return {**schema, "type": [schema["type"], "null"]}


def array(items: JSONSchema, description: str = "") -> JSONSchema:
    return _described({"type": "array", "items": items}, description)


def mapping(values: JSONSchema, description: str = "") -> JSONSchema:
    return _described({"type": "object", "additionalProperties": values}, description)


def named(name: str, schema: JSONSchema) -> JSONSchema:
    """The schema under a name of its own: OpenAPI documents keep it once and refer to
    it, and generated clients call its type so."""
    return {"title": name, **schema}


def record(
    name: str,
    properties: Mapping[str, JSONSchema],
    optional: Sequence[str] = (),
    description: str = "",
) -> JSONSchema:
    """An object of that name with these properties, all required but the optional
    ones. Further properties are allowed, so that an older client reads a newer
    agent."""
    schema: dict[str, object] = {
        "title": name,
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
    }
    return _described(schema, description)


def one_of(*schemas: JSONSchema) -> JSONSchema:
    return {"oneOf": list(schemas)}


def _described(schema: dict[str, object], description: str) -> JSONSchema:
    if description:
        schema["description"] = description
    return schema


ANYTHING: JSONSchema = {}

ERROR = record(
    "Error",
    {
        "error": text("Short and stable, for programs."),
        "message": text("What is wrong, and the remedy."),
    },
    description="Every error answer.",
)

TEXT = text()

CONF_VALUES = named("ConfValues", mapping(ANYTHING, "Configuration keys and their values."))

CONF_UPDATED = record(
    "ConfUpdated",
    {
        "updated": mapping(ANYTHING, "What was set, as it now reads."),
        "errors": mapping(text(), "Why a key was not set."),
    },
    optional=["errors"],
)

STATUS_SUCCESS = constant("success")

_ROLE = named("AgentRole", choice(["scheduler", "worker"]))

CLEARED = record(
    "CacheCleared",
    {
        "status": STATUS_SUCCESS,
        "num_removed": integer("Chunk entries removed, summed over backends.", minimum=0),
        "removed": mapping(integer(minimum=0), "Chunk entries removed from each backend."),
    },
    optional=["removed"],
)

STORED = record(
    "CacheStored",
    {
        "status": STATUS_SUCCESS,
        "num_tokens": integer("end - start.", minimum=0),
        "num_stored": integer("Tokens that are newly stored.", minimum=0),
    },
    optional=["num_stored"],
)

RETRIEVED = record(
    "CacheRetrieved",
    {
        "status": STATUS_SUCCESS,
        "num_tokens": integer("end - start.", minimum=0),
        "num_retrieved": integer("Leading tokens whose KV was restored.", minimum=0),
    },
)

SLOT_RANGES = array(
    one_of(integer(minimum=0), array(integer(minimum=0), "First and last slot.")),
    "The slots asked for: a consecutive run of three or more as [first, last].",
)

CHECKSUMS = record(
    "KVCacheChecksums",
    {
        "status": STATUS_SUCCESS,
        "slot_mapping_ranges": SLOT_RANGES,
        "chunk_size": integer(minimum=1),
        "num_chunks": integer(minimum=0),
        "chunk_checksums": one_of(
            array(text("MD5, hexadecimal."), "One a chunk, all layers combined."),
            mapping(array(text("MD5, hexadecimal.")), "Per layer, one a chunk."),
        ),
        "layerwise": boolean(),
    },
)

RECORD_SLOT = record(
    "SlotLogging", {"status": STATUS_SUCCESS, "kvcache_check_log_enabled": boolean()}
)

CHUNKS_LOADED = record(
    "ChunksLoaded",
    {
        "status": STATUS_SUCCESS,
        "loaded_chunks": integer("Chunks that came into the hot cache.", minimum=0),
        "total_files": integer("Chunk files that were found.", minimum=0),
        "failed_keys": array(text(), "Keys, or names, of files that could not be used."),
        "config_path": text(),
    },
)

CHUNKS_TO_LOAD = record(
    "ChunksToLoad",
    {
        "config_path": text("YAML file whose remote_url is fs://; under one of config_dirs."),
        "max_chunks": nullable(integer("Most chunks to load; null: no limit.", minimum=0)),
        "max_failed_keys": integer("Most failed keys to name; 10 if absent.", minimum=0),
    },
    optional=["max_chunks", "max_failed_keys"],
)

_BACKENDS_BYPASSED = array(text(), "Bypassed backends, in the order in which they are read.")

BYPASS_LIST = record(
    "BypassedBackends",
    {
        "status": STATUS_SUCCESS,
        "bypassed_backends": _BACKENDS_BYPASSED,
        "all_backends": array(text()),
    },
)

BYPASS_ADDED = record(
    "BypassAdded",
    {
        "status": STATUS_SUCCESS,
        "backend_name": text(),
        "bypassed": boolean(),
        "was_already_bypassed": boolean(),
        "bypassed_backends": _BACKENDS_BYPASSED,
    },
)

BYPASS_REMOVED = record(
    "BypassRemoved",
    {
        "status": STATUS_SUCCESS,
        "backend_name": text(),
        "bypassed": boolean(),
        "was_bypassed": boolean(),
        "bypassed_backends": _BACKENDS_BYPASSED,
    },
)

KVCACHE_INFO = record(
    "KVCacheInfo",
    {
        "status": STATUS_SUCCESS,
        "num_layers": integer(minimum=0),
        "layers": mapping(
            record(
                "KVCacheLayer",
                {
                    "shape": array(integer(minimum=0)),
                    "dtype": text("As torch writes it, such as torch.bfloat16."),
                    "device": text("As torch writes it, such as cuda:0."),
                },
            )
        ),
    },
)


def mode_state(field: str) -> JSONSchema:
    """The answer of the freeze and the hot cache endpoints."""
    name = f"{field.title().replace('_', '')}State"
    return record(name, {"status": STATUS_SUCCESS, field: boolean(), "message": text()})


CONF_SCHEMA = record(
    "ConfSchema",
    {
        "keys": mapping(
            record(
                "ConfKey",
                {
                    "type": text("int, float, bool, str, list[int], dict, …"),
                    "optional": boolean("Whether null is a value."),
                    "default": ANYTHING,
                    "minimum": nullable(number()),
                    "maximum": nullable(number()),
                    "choices": {"type": ["array", "null"], "items": ANYTHING},
                    "mutable": boolean("Whether POST /conf takes it."),
                    "applies": choice(["now", "on lookup recreate", "never"]),
                    "secret": boolean("Whether its value is shown as ***."),
                    "help": text(),
                },
            )
        )
    },
)

_CHAIN = text("Class names, outermost first; None where there is none.")
_ONLY_DRY = boolean("Present, and true, if nothing was done.")

LOOKUP_INFO = record("LookupInfo", {"client": _CHAIN, "server": _CHAIN, "role": _ROLE})
LOOKUP_CLOSED = record(
    "LookupClosed", {"old": _CHAIN, "dryrun": _ONLY_DRY, "role": _ROLE}, optional=["dryrun"]
)
LOOKUP_CREATED = record(
    "LookupCreated",
    {"old": _CHAIN, "new": _CHAIN, "dryrun": _ONLY_DRY, "role": _ROLE},
    optional=["old", "dryrun"],
)
LOOKUP_RECREATED = record(
    "LookupRecreated",
    {"old": _CHAIN, "new": _CHAIN, "dryrun": _ONLY_DRY, "role": _ROLE},
    optional=["dryrun"],
)
LOOKUP_FOUND = record(
    "LookupFound",
    {
        "status": STATUS_SUCCESS,
        "num_tokens": integer("end - start.", minimum=0),
        "num_hit": integer("Leading tokens that are cached.", minimum=0),
        "client": _CHAIN,
        "seconds": number("How long the lookup took."),
    },
)

DONE = record("Done", {"status": STATUS_SUCCESS, "message": text()})

_STATISTICS = {
    "is_collecting": boolean(),
    "total_chunks": integer(minimum=0),
    "unique_chunks": integer(minimum=0),
    "timestamp": number("Unix time of this answer."),
    "auto_exit_enabled": boolean("Whether counting will stop by itself."),
    "auto_exit_timeout_hours": number("0: never."),
    "auto_exit_target_unique_chunks": nullable(integer("null: never.", minimum=0)),
}
_OWN_STATISTICS = {
    "total_requests": integer("Requests that were counted, each once.", minimum=0),
    "duplicate_chunks": integer(minimum=0),
    "reuse_rate": number("duplicate_chunks / total_chunks."),
    "strategy": choice(["memory_bloom_filter", "file_hash"]),
    "expected_error": number("By which part unique_chunks is expected to be too low."),
    "dropped_requests": integer("Lookups that were not counted.", minimum=0),
    "queued_requests": integer("Requests that wait to be counted.", minimum=0),
    "lookup_overhead_seconds": number("What lookups spent on being counted."),
    "counting_seconds": number("Processor time of the counting thread."),
    "memory_bytes": integer(minimum=0),
    "started_at": nullable(number("Unix time of the last start.")),
    "exit_reason": nullable(text("Why counting stopped by itself.")),
}
CHUNK_STATISTICS = record(
    "ChunkStatistics", {**_STATISTICS, **_OWN_STATISTICS}, optional=list(_OWN_STATISTICS)
)

BACKEND_USAGE = record(
    "BackendUsage",
    {
        "capacity_bytes": integer(minimum=0),
        "used_bytes": integer(minimum=0),
        "chunks": integer(minimum=0),
        "looked_up_tokens": integer(
            "Tokens that retrieves asked the backend for, since boot.", minimum=0
        ),
        "hit_tokens": integer("Of those, tokens that it had.", minimum=0),
        "breaker": choice(["closed", "open"], "Open: the tier failed and is left alone."),
        "queued": integer("Chunks that wait to be written.", minimum=0),
    },
    optional=["looked_up_tokens", "hit_tokens", "breaker", "queued"],
)

AGENT_STATUS = record(
    "AgentStatus",
    {
        "boot_id": text("Changes when the process restarts."),
        "started_at": number("Unix time in seconds."),
        "role": _ROLE,
        "worker_id": nullable(integer(minimum=0)),
        "instance_id": text(),
        "versions": mapping(nullable(text())),
        "generation": integer("Counts the changes applied since boot.", minimum=0),
        "conf_hash": text("SHA-256 of the effective configuration, secrets included."),
        "freeze": nullable(boolean()),
        "hot_cache": nullable(boolean()),
        "bypassed_backends": array(text()),
        "lookup": record("LookupNames", {"client": _CHAIN, "server": _CHAIN}),
        "chunk_statistics": nullable(CHUNK_STATISTICS),
        "storage": mapping(BACKEND_USAGE),
        "counters": mapping(number()),
    },
)

_VLLM_CONFIG = {
    "model": text(),
    "revision": nullable(text()),
    "dtype": text("Such as bfloat16."),
    "max_model_len": integer(minimum=0),
    "quantization": nullable(text()),
    "tensor_parallel_size": integer(minimum=1),
    "pipeline_parallel_size": integer(minimum=1),
    "data_parallel_size": integer(minimum=1),
    "block_size": nullable(integer("Slots in one block.", minimum=1)),
    "num_gpu_blocks": nullable(integer(minimum=0)),
    "cache_dtype": text(),
    "enable_prefix_caching": nullable(boolean()),
    "max_num_seqs": nullable(integer(minimum=0)),
    "max_num_batched_tokens": nullable(integer(minimum=0)),
}
VLLM_CONFIG = record(
    "VllmConfig",
    _VLLM_CONFIG,
    optional=list(_VLLM_CONFIG),
    description="What matters to a KV cache; what this vLLM does not tell is left out.",
)

INFERENCE_VERSION = record("InferenceVersion", {"vllm_version": text()})

_METADATA = {
    "model_name": text(),
    "role": _ROLE,
    "worker_id": nullable(integer("null on a scheduler.", minimum=0)),
    "world_size": integer("Workers of the engine.", minimum=1),
    "kv_dtype": text("Element type, such as bfloat16."),
    "kv_shape": array(integer(minimum=0), "Layers, 2 or 1 with MLA, chunk_size, heads, head_size."),
    "use_mla": boolean(),
    "chunk_size": integer("Tokens in one chunk.", minimum=1),
    "fmt": text("How a chunk is laid out, such as KV_2LTD."),
    "engine_id": text("Different at every start."),
    "instance_id": text("The same after a restart."),
}
METADATA = record(
    "EngineMetadata",
    _METADATA,
    optional=list(_METADATA),
    description="The names that were asked for; all of them if none was.",
)

INFERENCE_INFO = record(
    "InferenceInfo",
    {
        "vllm_version": nullable(text()),
        "engine_version": text(),
        "vllm_config": nullable(VLLM_CONFIG),
        "role": _ROLE,
        "worker_id": nullable(integer(minimum=0)),
    },
)

HEALTH = record("Health", {"status": constant("ok")})
