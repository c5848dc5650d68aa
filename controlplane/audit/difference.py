"""How two states differ, key by key."""

from collections.abc import Mapping

Diff = dict[str, dict[str, object]]
_ABSENT = "absent"


def difference(before: Mapping[str, object], after: Mapping[str, object]) -> Diff:
    """Key by key what changes from `before` to `after`: `from` and `to`, or `absent`
    naming the side that does not have the key."""
    diff: Diff = {}
    for key in [*before, *(key for key in after if key not in before)]:
        if key not in before:
            diff[key] = {_ABSENT: "from", "to": after[key]}
        elif key not in after:
            diff[key] = {"from": before[key], _ABSENT: "to"}
        elif not same(before[key], after[key]):
            diff[key] = {"from": before[key], "to": after[key]}
    return diff


def same(one: object, other: object) -> bool:
    """Whether two JSON values are equal; unlike Python, JSON tells 1 from true."""
    if isinstance(one, bool) != isinstance(other, bool):
        return False
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return one == other


def side(diff: Mapping[str, Mapping[str, object]], name: str) -> dict[str, object]:
    """What one side, `from` or `to`, had of the keys that differ."""
    return {key: change[name] for key, change in diff.items() if name in change}
