"""The endpoints of lookups and of chunk statistics."""

from dataclasses import replace

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

MAX_QUERY_TOKENS = 1 << 22
"""Most tokens that one /lookup/query asks about: more than any model's context."""

_DRYRUN = Parameter(
    "dryrun",
    Kind.BOOLEAN,
    "Only say what would come of it; nothing is opened, closed or bound.",
    example="true",
    default="false",
)
_ADDED_DRYRUN = replace(_DRYRUN, origin=Origin.KVPLANE)
_UNAVAILABLE = ErrorCase(
    400,
    "The configuration asks for what cannot be here",
    {
        "error": "Lookup unavailable",
        "message": "'enable_scheduler_bypass_lookup' is true, but the workers [0] live in other "
        "processes and there is no 'remote_url' to look into; set it to false, or start the "
        "scheduler with the workers' 'remote_url'.",
    },
)

LOOKUP = [
    Endpoint(
        "get_lookup_info",
        Group.LOOKUP,
        "GET",
        "/lookup/info",
        "Lookup client and server",
        "A scheduler's lookup client, with what it is wrapped in, or a worker's lookup server.",
        schemas.LOOKUP_INFO,
        {
            "client": "HitLimitLookupClient(LMCacheBypassLookupClient)",
            "server": "None",
            "role": "scheduler",
        },
        component=Component.LOOKUP,
    ),
    Endpoint(
        "close_lookup",
        Group.LOOKUP,
        "POST",
        "/lookup/close",
        "Close the lookup client or server",
        "Until the next create nothing counts as cached. Lookups in progress are answered.",
        schemas.LOOKUP_CLOSED,
        {"old": "HitLimitLookupClient(LMCacheBypassLookupClient)", "role": "scheduler"},
        component=Component.LOOKUP,
        action="lookup.close",
        reads_with="dryrun",
        parameters=(_ADDED_DRYRUN,),
    ),
    Endpoint(
        "create_lookup",
        Group.LOOKUP,
        "POST",
        "/lookup/create",
        "Create a lookup client or server",
        "Makes what the configuration asks for; change that first. One that is there is closed, "
        "and answers the lookups that are in progress.",
        schemas.LOOKUP_CREATED,
        {"new": "LMCacheLookupClient", "role": "scheduler"},
        component=Component.LOOKUP,
        action="lookup.create",
        reads_with="dryrun",
        parameters=(_DRYRUN,),
        errors=(_UNAVAILABLE,),
    ),
    Endpoint(
        "recreate_lookup",
        Group.LOOKUP,
        "POST",
        "/lookup/recreate",
        "Recreate the lookup client or server",
        "The client on a scheduler, the server on a worker: what is there is replaced by what "
        "the configuration asks for. No lookup is lost.",
        schemas.LOOKUP_RECREATED,
        {
            "old": "HitLimitLookupClient(LMCacheBypassLookupClient)",
            "new": "LMCacheLookupClient",
            "role": "scheduler",
        },
        component=Component.LOOKUP,
        action="lookup.recreate",
        reads_with="dryrun",
        parameters=(_ADDED_DRYRUN,),
        errors=(_UNAVAILABLE,),
    ),
    Endpoint(
        "query_lookup",
        Group.LOOKUP,
        "POST",
        "/lookup/query",
        "Look mock tokens up",
        "How many leading tokens every asked worker has cached, found as for a request. Counts in "
        "the chunk statistics, and with an asynchronous client loads chunks into memory.",
        schemas.LOOKUP_FOUND,
        {
            "status": "success",
            "num_tokens": 1024,
            "num_hit": 768,
            "client": "LMCacheLookupClient",
            "seconds": 0.0009,
        },
        component=Component.LOOKUP_CLIENT,
        origin=Origin.KVPLANE,
        action="lookup.query",
        parameters=(
            Parameter(
                "tokens_mock",
                Kind.TOKEN_RANGE,
                'Two comma-separated numbers, "start,end"; "0,100" stands for the tokens 0 to 99.',
                example="0,1024",
                required=True,
            ),
        ),
    ),
]

_NOT_COUNTING = ErrorCase(
    400,
    "The lookup client does not count chunks",
    {"error": "Not available", "message": "Client does not support statistics."},
)


def _statistics_change(verb: str, summary: str, description: str, message: str) -> Endpoint:
    return Endpoint(
        f"{verb}_chunk_statistics",
        Group.CHUNK_STATISTICS,
        "POST",
        f"/chunk_statistics/{verb}",
        summary,
        description,
        schemas.DONE,
        {"status": "success", "message": message},
        component=Component.LOOKUP_CLIENT,
        action=f"chunk_statistics.{verb}",
        errors=(_NOT_COUNTING,),
    )


CHUNK_STATISTICS = [
    _statistics_change(
        "start",
        "Start chunk statistics",
        "Counts the chunks of prompts that are looked up from now on; earlier counts go on.",
        "Started",
    ),
    _statistics_change(
        "stop", "Stop chunk statistics", "Counts no further prompts; the counts stay.", "Stopped"
    ),
    _statistics_change(
        "reset", "Reset chunk statistics", "Sets all counts to zero; counting goes on.", "Reset"
    ),
    Endpoint(
        "get_chunk_statistics_status",
        Group.CHUNK_STATISTICS,
        "GET",
        "/chunk_statistics/status",
        "Chunk statistics",
        "How many chunks were looked up and how many of them were new, when counting stops by "
        "itself, and what counting costs.",
        schemas.CHUNK_STATISTICS,
        {
            "is_collecting": True,
            "total_chunks": 1000,
            "unique_chunks": 500,
            "timestamp": 1706745600.0,
            "auto_exit_enabled": True,
            "auto_exit_timeout_hours": 24.0,
            "auto_exit_target_unique_chunks": 1000,
            "total_requests": 40,
            "duplicate_chunks": 500,
            "reuse_rate": 0.5,
            "strategy": "memory_bloom_filter",
            "expected_error": 0.0,
            "dropped_requests": 0,
            "queued_requests": 0,
            "lookup_overhead_seconds": 0.0002,
            "counting_seconds": 0.004,
            "memory_bytes": 16785408,
            "started_at": 1706742000.0,
            "exit_reason": None,
        },
        component=Component.LOOKUP_CLIENT,
        errors=(_NOT_COUNTING,),
    ),
]
