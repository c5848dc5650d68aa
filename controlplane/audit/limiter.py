"""Bounding how many refused calls those whom nobody knows can put on the record."""

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import monotonic

_NETWORK_BITS = 64


@dataclass(frozen=True)
class Admission:
    """Whether an event may be put on record, and how many were left out and are to be
    told with it: before it, of the same source, and of sources that are forgotten."""

    admitted: bool
    left_out_before: int = 0
    left_out_elsewhere: int = 0


@dataclass
class _Window:
    started: float
    admitted: int = 0

    def has_room(self, limit: int, window_s: float, now: float) -> bool:
        if now - self.started >= window_s:
            self.started, self.admitted = now, 0
        return self.admitted < limit


class DenialLimiter:
    """Admits `per_source` events of an action in `window_s` seconds from each source, and
    `overall` from all; remembers `sources` of them. None that is left out is forgotten."""

    def __init__(self, per_source: int, overall: int, window_s: float, sources: int) -> None:
        self._per_source = per_source
        self._overall = overall
        self._window_s = window_s
        self._sources = sources
        self._lock = threading.Lock()
        self._all = _Window(monotonic())
        self._windows: OrderedDict[tuple[str, str], _Window] = OrderedDict()
        self._left_out: Counter[tuple[str, str]] = Counter()
        self._elsewhere: Counter[str] = Counter()

    def admit(self, action: str, source: str) -> Admission:
        """Whether this event may be recorded; if not, it is counted."""
        now, key = monotonic(), (action, source)
        with self._lock:
            window = self._remember(key, now)
            has_room = window.has_room(self._per_source, self._window_s, now)
            if not self._all.has_room(self._overall, self._window_s, now) or not has_room:
                self._left_out[key] += 1
                return Admission(admitted=False)
            window.admitted += 1
            self._all.admitted += 1
            elsewhere = self._elsewhere.total()
            self._elsewhere.clear()
            return Admission(True, self._left_out.pop(key, 0), elsewhere)

    def take(self) -> dict[str, int]:
        """How many of each action were left out and not told yet; they count as told."""
        with self._lock:
            taken = Counter(self._elsewhere)
            for (action, _), count in self._left_out.items():
                taken[action] += count
            self._left_out.clear()
            self._elsewhere.clear()
        return dict(taken)

    def put_back(self, action: str, count: int) -> None:
        """So many could not be told."""
        with self._lock:
            self._elsewhere[action] += count

    def _remember(self, key: tuple[str, str], now: float) -> _Window:
        window = self._windows.setdefault(key, _Window(now))
        self._windows.move_to_end(key)
        while len(self._windows) > self._sources:
            forgotten, _ = self._windows.popitem(last=False)
            if (count := self._left_out.pop(forgotten, 0)) > 0:
                self._elsewhere[forgotten[0]] += count
        return window


def source_of(address: str) -> str:
    """What stands for everything that one caller can choose from: an IPv4 address, a
    network of 64 bits for IPv6, or the text if it is no address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(IPv6Network((int(parsed), _NETWORK_BITS), strict=False))
