"""As many moments as a chart bears: more lines would hide what they are to explain."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import urlencode

from django.urls import reverse

from controlplane.dashboard.moments import Kind, Moment, Span

MAX_MOMENTS = 100
_FOR_CONFIGURATIONS = MAX_MOMENTS // 4
_SLICES = 50


@dataclass(frozen=True)
class Few:
    """The moments that are shown, oldest first, and how many others there are."""

    moments: Sequence[Moment]
    left_out: int


def few_of(moments: Iterable[Moment], span: Span) -> Few:
    """All of them, if they are MAX_MOMENTS or less. Of more, changes of configurations that
    come close together are one; and if that is not enough, the newest ones are taken, clears,
    modes and new beginnings before configurations, which have a quarter for themselves."""
    found = sorted(moments, key=lambda moment: moment.at)
    if len(found) <= MAX_MOMENTS:
        return Few(found, 0)
    bursts = _bursts([moment for moment in found if moment.kind is Kind.CONFIG], span)
    room = MAX_MOMENTS - min(len(bursts), _FOR_CONFIGURATIONS)
    others = [moment for moment in found if moment.kind is not Kind.CONFIG][-room:]
    shown = [*others, *bursts[-(MAX_MOMENTS - len(others)) :]]
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
    agents = {change.agent for change in changes}
    agent = first.agent if len(agents) == 1 else ""
    return replace(
        first,
        label=f"{len(changes)} changes of the configuration",
        about=agent or "several agents",
        agent=agent,
        href=_address(agent, first, changes[-1]),
        reason="",
        stands_for=len(changes),
    )


def _address(agent: str, first: Moment, last: Moment) -> str:
    """The list of the revisions from one to the other, of all agents if `agent` is ""."""
    # Whole seconds: the fields of that page have no others.
    since, before = first.at.replace(microsecond=0), last.at.replace(microsecond=0)
    asked = {"since": since.isoformat(), "until": (before + timedelta(seconds=1)).isoformat()}
    if agent:
        asked["agent"] = agent
    return f"{reverse('dashboard:revisions')}?{urlencode(asked)}"
