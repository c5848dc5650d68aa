"""As many moments as a chart bears: more lines would hide what they are to explain."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlencode

from django.urls import reverse

from controlplane.dashboard.moments import Kind, Moment, Span

MAX_MOMENTS = 100
_SLICES = 50


@dataclass(frozen=True)
class Few:
    """The moments that are shown, oldest first, and how many others there are."""

    moments: Sequence[Moment]
    left_out: int


def few_of(moments: Iterable[Moment], span: Span) -> Few:
    """All of them, if they are MAX_MOMENTS or less. Of more, changes of configurations that
    come close together are one; and if that is not enough, the newest ones are taken, clears,
    modes and new beginnings before configurations."""
    found = sorted(moments, key=lambda moment: moment.at)
    if len(found) <= MAX_MOMENTS:
        return Few(found, 0)
    others = [moment for moment in found if moment.kind is not Kind.CONFIG][-MAX_MOMENTS:]
    bursts = _bursts([moment for moment in found if moment.kind is Kind.CONFIG], span)
    room = MAX_MOMENTS - len(others)
    shown = [*others, *bursts[len(bursts) - room if room < len(bursts) else 0 :]]
    told = sum(moment.stands_for for moment in shown)
    return Few(sorted(shown, key=lambda moment: moment.at), len(found) - told)


def _bursts(changes: Iterable[Moment], span: Span) -> list[Moment]:
    """One for each slice of the time in which something was changed, oldest first."""
    slices: dict[int, list[Moment]] = defaultdict(list)
    for change in changes:
        slices[int(_SLICES * ((change.at - span.start) / (span.end - span.start)))].append(change)
    return [_burst(slices[number]) for number in sorted(slices)]


def _burst(changes: Sequence[Moment]) -> Moment:
    first = changes[0]
    if len(changes) == 1:
        return first
    is_of_one = len({change.about for change in changes}) == 1
    return replace(
        first,
        label=f"{len(changes)} changes of the configuration",
        about=first.about if is_of_one else "several agents",
        href=_address(first, changes[-1]),
        reason="",
        stands_for=len(changes),
    )


def _address(first: Moment, last: Moment) -> str:
    """The list of the revisions of all agents from one to the other."""
    after = last.at + timedelta(microseconds=1)
    asked = {"since": first.at.isoformat(), "until": after.isoformat()}
    return f"{reverse('dashboard:revisions')}?{urlencode(asked)}"
