"""Bounding how many refused calls one source can put on the record."""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass
class _Window:
    started: float
    admitted: int = 0
    left_out: int = 0


class DenialLimiter:
    """Admits `per_key` events a window for each key; remembers `keys` keys."""

    def __init__(self, per_key: int, window_s: float, keys: int) -> None:
        self._per_key = per_key
        self._window_s = window_s
        self._keys = keys
        self._lock = threading.Lock()
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()

    def admit(self, key: Hashable) -> int | None:
        """How many events of this key were left out before this one, or None
        if this one is to be left out too."""
        now = time.monotonic()
        with self._lock:
            window = self._windows.setdefault(key, _Window(now))
            self._windows.move_to_end(key)
            while len(self._windows) > self._keys:
                self._windows.popitem(last=False)
            if now - window.started >= self._window_s:
                window.started, window.admitted = now, 0
            if window.admitted >= self._per_key:
                window.left_out += 1
                return None
            window.admitted += 1
            left_out, window.left_out = window.left_out, 0
            return left_out
