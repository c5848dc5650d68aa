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
    return {"type": "string", "enum": [value]}


def choice(values: Sequence[str], description: str = "") -> JSONSchema:
    return _described({"type": "string", "enum": list(values)}, description)


def nullable(schema: JSONSchema) -> JSONSchema:
    return {**schema, "type": [schema["type"], "null"]}


def array(items: JSONSchema, description: str = "") -> JSONSchema:
    return _described({"type": "array", "items": items}, description)


def mapping(values: JSONSchema, description: str = "") -> JSONSchema:
    return _described({"type": "object", "additionalProperties": values}, description)


def record(
    properties: Mapping[str, JSONSchema], optional: Sequence[str] = (), description: str = ""
) -> JSONSchema:
    """An object with these properties, all required but the optional ones.
    Further properties are allowed, so that an older client reads a newer
    agent."""
    schema: dict[str, object] = {
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
    {
        "error": text("Short and stable, for programs."),
        "message": text("What is wrong, and the remedy."),
    },
    description="Every error answer.",
)

TEXT = text()

CONF_VALUES = mapping(ANYTHING, "Configuration keys and their current values.")

CONF_UPDATED = record(
    {
        "updated": mapping(ANYTHING, "What was set, as it now reads."),
        "errors": mapping(text(), "Why a key was not set."),
    },
    optional=["errors"],
)

STATUS_SUCCESS = constant("success")

CLEARED = record(
    {
        "status": STATUS_SUCCESS,
        "num_removed": integer("Chunk entries removed, summed over backends.", minimum=0),
        "removed": mapping(integer(minimum=0), "Chunk entries removed from each backend."),
    },
    optional=["removed"],
)

STORED = record(
    {
        "status": STATUS_SUCCESS,
        "num_tokens": integer("end - start.", minimum=0),
        "num_stored": integer("Tokens that are newly stored.", minimum=0),
    },
    optional=["num_stored"],
)

RETRIEVED = record(
    {
        "status": STATUS_SUCCESS,
        "num_tokens": integer("end - start.", minimum=0),
        "num_retrieved": integer("Leading tokens whose KV was restored.", minimum=0),
    }
)

SLOT_RANGES = array(
    one_of(integer(minimum=0), array(integer(minimum=0), "First and last slot.")),
    "The slots asked for: a consecutive run of three or more as [first, last].",
)

CHECKSUMS = record(
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
    }
)

RECORD_SLOT = record({"status": STATUS_SUCCESS, "kvcache_check_log_enabled": boolean()})

CHUNKS_LOADED = record(
    {
        "status": STATUS_SUCCESS,
        "loaded_chunks": integer("Chunks that came into the hot cache.", minimum=0),
        "total_files": integer("Chunk files that were found.", minimum=0),
        "failed_keys": array(text(), "Keys, or names, of files that could not be used."),
        "config_path": text(),
    }
)

CHUNKS_TO_LOAD = record(
    {
        "config_path": text("YAML file whose remote_url is fs://; under one of config_dirs."),
        "max_chunks": nullable(integer("Most chunks to load; null: no limit.", minimum=0)),
        "max_failed_keys": integer("Most failed keys to name; 10 if absent.", minimum=0),
    },
    optional=["max_chunks", "max_failed_keys"],
)

_BACKENDS_BYPASSED = array(text(), "Bypassed backends, in the order in which they are read.")

BYPASS_LIST = record(
    {
        "status": STATUS_SUCCESS,
        "bypassed_backends": _BACKENDS_BYPASSED,
        "all_backends": array(text()),
    }
)

BYPASS_ADDED = record(
    {
        "status": STATUS_SUCCESS,
        "backend_name": text(),
        "bypassed": boolean(),
        "was_already_bypassed": boolean(),
        "bypassed_backends": _BACKENDS_BYPASSED,
    }
)

BYPASS_REMOVED = record(
    {
        "status": STATUS_SUCCESS,
        "backend_name": text(),
        "bypassed": boolean(),
        "was_bypassed": boolean(),
        "bypassed_backends": _BACKENDS_BYPASSED,
    }
)

KVCACHE_INFO = record(
    {
        "status": STATUS_SUCCESS,
        "num_layers": integer(minimum=0),
        "layers": mapping(
            record(
                {
                    "shape": array(integer(minimum=0)),
                    "dtype": text("As torch writes it, such as torch.bfloat16."),
                    "device": text("As torch writes it, such as cuda:0."),
                }
            )
        ),
    }
)


def mode_state(field: str) -> JSONSchema:
    """The answer of the freeze and the hot cache endpoints."""
    return record({"status": STATUS_SUCCESS, field: boolean(), "message": text()})


CONF_SCHEMA = record(
    {
        "keys": mapping(
            record(
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
                }
            )
        )
    }
)

_ROLE = choice(["scheduler", "worker"])
_CHAIN = text("Class names, outermost first; None where there is none.")
_ONLY_DRY = boolean("Present, and true, if nothing was done.")

LOOKUP_INFO = record({"client": _CHAIN, "server": _CHAIN, "role": _ROLE})
LOOKUP_CLOSED = record({"old": _CHAIN, "dryrun": _ONLY_DRY, "role": _ROLE}, optional=["dryrun"])
LOOKUP_CREATED = record(
    {"old": _CHAIN, "new": _CHAIN, "dryrun": _ONLY_DRY, "role": _ROLE},
    optional=["old", "dryrun"],
)
LOOKUP_RECREATED = record(
    {"old": _CHAIN, "new": _CHAIN, "dryrun": _ONLY_DRY, "role": _ROLE}, optional=["dryrun"]
)
LOOKUP_FOUND = record(
    {
        "status": STATUS_SUCCESS,
        "num_tokens": integer("end - start.", minimum=0),
        "num_hit": integer("Leading tokens that are cached.", minimum=0),
        "client": _CHAIN,
        "seconds": number("How long the lookup took."),
    }
)

DONE = record({"status": STATUS_SUCCESS, "message": text()})

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
CHUNK_STATISTICS = record({**_STATISTICS, **_OWN_STATISTICS}, optional=list(_OWN_STATISTICS))

BACKEND_USAGE = record(
    {
        "capacity_bytes": integer(minimum=0),
        "used_bytes": integer(minimum=0),
        "chunks": integer(minimum=0),
        "breaker": choice(["closed", "open"], "Open: the tier failed and is left alone."),
        "queued": integer("Chunks that wait to be written.", minimum=0),
    },
    optional=["breaker", "queued"],
)

AGENT_STATUS = record(
    {
        "boot_id": text("Changes when the process restarts."),
        "started_at": number("Unix time in seconds."),
        "role": choice(["scheduler", "worker"]),
        "worker_id": nullable(integer(minimum=0)),
        "instance_id": text(),
        "versions": mapping(nullable(text())),
        "generation": integer("Counts the changes applied since boot.", minimum=0),
        "conf_hash": text("SHA-256 of the effective configuration, secrets included."),
        "freeze": nullable(boolean()),
        "hot_cache": nullable(boolean()),
        "bypassed_backends": array(text()),
        "lookup": record({"client": _CHAIN, "server": _CHAIN}),
        "chunk_statistics": nullable(CHUNK_STATISTICS),
        "storage": mapping(BACKEND_USAGE),
        "counters": mapping(number()),
    }
)

INFERENCE_INFO = record(
    {
        "vllm_version": nullable(text()),
        "engine_version": text(),
        "vllm_config": nullable(mapping(ANYTHING)),
        "role": choice(["scheduler", "worker"]),
        "worker_id": nullable(integer(minimum=0)),
    }
)

HEALTH = record({"status": constant("ok")})
