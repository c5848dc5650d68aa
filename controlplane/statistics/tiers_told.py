"""Reading what an agent says about its tiers."""

from collections.abc import Mapping

from controlplane.statistics.counted import read_count, read_name
from controlplane.statistics.errors import InvalidSample
from controlplane.statistics.models import TIER_COUNTS, TIER_LEVELS, TOKEN_COUNTS

_MAX_TIERS = 16
_MAX_NAME = 64


def tells_of_tiers(status: Mapping[str, object]) -> bool:
    """Whether the agent says in `/agent/status` what its tiers counted. Older agents,
    schedulers and LMCache processes do not."""
    return bool(_told(status))


def read_tiers(status: Mapping[str, object]) -> dict[str, dict[str, int]]:
    """The counts and levels of each tier that says what it counted, in an answer of
    `/agent/status`. Raises InvalidSample, also if no tier does."""
    told = _told(status)
    if not 0 < len(told) <= _MAX_TIERS:
        raise InvalidSample(
            "storage", f"tells the counts of {len(told)} backends, not of 1 to {_MAX_TIERS}"
        )
    return {read_name("storage", name, _MAX_NAME): _read_tier(name, told[name]) for name in told}


def read_token_counts(counters: object) -> dict[str, int | None]:
    """The counts of tokens by name out of the `counters` of `/agent/status`; None: the agent
    does not say. Raises InvalidSample."""
    said = counters if isinstance(counters, Mapping) else {}
    return {
        name: read_count(said, name, "counters.") if name in said else None for name in TOKEN_COUNTS
    }


def _told(status: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    storage = status.get("storage")
    if not isinstance(storage, Mapping):
        return {}
    return {
        name: tier
        for name, tier in storage.items()
        if isinstance(tier, Mapping) and not tier.keys().isdisjoint(TIER_COUNTS)
    }


def _read_tier(name: str, tier: Mapping[str, object]) -> dict[str, int]:
    place = f"storage.{name}."
    values = {field: read_count(tier, field, place) for field in (*TIER_COUNTS, *TIER_LEVELS)}
    looked_up, hit = values["looked_up_tokens"], values["hit_tokens"]
    if hit > looked_up:
        raise InvalidSample(
            f"{place}hit_tokens", f"is {hit}, more than looked_up_tokens, {looked_up}"
        )
    return values
