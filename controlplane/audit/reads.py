"""Which reads go on record, and how much of them."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

EVERYTHING = "*"


class ReadPolicy(StrEnum):
    """How much of a read is kept, the least first."""

    OFF = "off"
    METADATA = "metadata"
    """Who, when, from where, which path, how it ended."""
    FULL = "full"
    """Also the parameters and the answer, redacted."""


class BadReadPolicy(ValueError):
    """The setting cannot be read."""


def read_policies(pairs: Mapping[str, str], groups: frozenset[str]) -> dict[str, ReadPolicy]:
    """The policy of each group that has one; `*` is for all others. Raises
    BadReadPolicy naming what is wrong."""
    policies: dict[str, ReadPolicy] = {}
    for group, name in pairs.items():
        if group != EVERYTHING and group not in groups:
            known = ", ".join(sorted(groups))
            raise BadReadPolicy(f"there is no group '{group}'; there are: {known}, {EVERYTHING}")
        try:
            policies[group] = ReadPolicy(name)
        except ValueError:
            raise BadReadPolicy(f"'{name}' is not one of off, metadata, full") from None
    return policies


def policy_for(group: str, policies: Mapping[str, ReadPolicy]) -> ReadPolicy:
    """What is kept of reads of that group; "" is what has no group, such as pages and
    documents that are the same everywhere."""
    if not policies or not group:
        return ReadPolicy.OFF
    return policies.get(group, policies.get(EVERYTHING, ReadPolicy.OFF))


def policy_for_all(groups: Iterable[str], policies: Mapping[str, ReadPolicy]) -> ReadPolicy:
    """What is kept of a read that shows all of those groups: as much as of any of them."""
    least_first = list(ReadPolicy)
    return max((policy_for(group, policies) for group in groups), key=least_first.index)
