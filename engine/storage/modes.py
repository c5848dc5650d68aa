"""What operators order of all tiers together: freeze, bypass, clear."""

import threading
from collections.abc import Mapping, Sequence

from engine.storage.backend import Lease, SlowBackend
from engine.storage.local_cpu import LocalCPUBackend


class UnknownBackend(ValueError):
    """A backend name that this engine does not have."""

    def __init__(self, name: str, available: Sequence[str]) -> None:
        super().__init__(f"Backend '{name}' not found. Available: {list(available)}")
        self.name = name
        self.available = tuple(available)


class Modes:
    """Freezes, bypasses and clears the backends, and keeps what is on its way from
    undoing that. Thread-safe.

    An order and the hand-over of a chunk to a slower tier exclude each other for
    moments; no bytes move meanwhile.
    """

    def __init__(
        self,
        local_cpu: LocalCPUBackend,
        slow: Sequence[SlowBackend],
        backends: Mapping[str, LocalCPUBackend | SlowBackend],
    ) -> None:
        """`backends` are all of them by name, in the order in which they are read."""
        self._local_cpu = local_cpu
        self._slow = slow
        self._backends = backends
        self._frozen = False
        self._bypassed: set[str] = set()
        self._epoch = 0
        self._being_cleared: frozenset[str] = frozenset()
        # One operator's order at a time, a clear apart from the others: it may take long,
        # and a freeze must not wait for it. Requests wait for `_changing` alone, which is
        # held for moments.
        self._clearing = threading.Lock()
        self._switching = threading.Lock()
        self._changing = threading.Lock()

    @property
    def frozen(self) -> bool:
        return self._frozen

    @property
    def bypassed(self) -> list[str]:
        """Names of the bypassed backends, in the order in which they are read."""
        return [name for name in self._backends if name in self._bypassed]

    @property
    def epoch(self) -> int:
        """Another number after each clear: what began before must not be kept after."""
        return self._epoch

    def is_bypassed(self, name: str) -> bool:
        return name in self._bypassed

    def freeze(self) -> None:
        """Freeze every backend; from the return of this call on none changes, except
        by an order to clear it. Waits for a write to a remote store that has begun,
        but no longer than its timeout."""
        with self._switching:
            with self._changing:
                self._frozen = True
                self._local_cpu.freeze()
            for backend in self._slow:
                backend.freeze()

    def unfreeze(self) -> None:
        with self._switching:
            with self._changing:
                self._frozen = False
                self._local_cpu.unfreeze()
            for backend in self._slow:
                if backend.name not in self._bypassed:
                    backend.unfreeze()

    def bypass(self, name: str) -> bool:
        """Leave that backend out of everything; from the return of this call on it is
        not read and does not change. Whether it was bypassed before. Waits as freeze
        does. Raises UnknownBackend."""
        backend = self._backend(name)
        with self._switching:
            with self._changing:
                was_bypassed = name in self._bypassed
                self._bypassed.add(name)
            if isinstance(backend, LocalCPUBackend):
                backend.bypass()
            else:
                backend.freeze()
        return was_bypassed

    def stop_bypass(self, name: str) -> bool:
        """Use that backend again. Whether it was bypassed. Raises UnknownBackend."""
        backend = self._backend(name)
        with self._switching:
            with self._changing:
                was_bypassed = name in self._bypassed
                self._bypassed.discard(name)
            if isinstance(backend, LocalCPUBackend):
                backend.stop_bypass()
            elif not self._frozen:
                backend.unfreeze()
        return was_bypassed

    def clear(self, names: Sequence[str] = ()) -> dict[str, int]:
        """Remove all chunks of the named backends, or, if none is named, of all that
        are not bypassed, frozen or not; how many by backend. A store in flight is
        refused. Raises UnknownBackend before anything is removed."""
        backends = [self._backend(name) for name in self._backends if name in names]
        for name in names:
            self._backend(name)
        with self._clearing:
            with self._changing:
                self._epoch += 1
                if not names:
                    backends = [b for b in self._backends.values() if b.name not in self._bypassed]
                self._being_cleared = frozenset(backend.name for backend in backends)
            try:
                removed = {backend.name: backend.clear() for backend in backends}
                if self._local_cpu.name in removed:
                    # A chunk that came up from a slower tier before that was cleared too
                    # must not outlive it.
                    removed[self._local_cpu.name] += self._local_cpu.clear()
            finally:
                with self._changing:
                    self._epoch += 1
                    self._being_cleared = frozenset()
        return removed

    def hand_over(self, epoch: int, backend: SlowBackend, lease: Lease) -> bool:
        """Give a chunk to a slower tier, unless since `epoch` the cache was cleared,
        frozen, or the backend bypassed, or it is being cleared; whether it was taken."""
        with self._changing:
            closed = self._frozen or backend.name in self._bypassed | self._being_cleared
            if epoch == self._epoch and not closed:
                return backend.offer(lease)
        lease.release()
        return False

    def _backend(self, name: str) -> LocalCPUBackend | SlowBackend:
        try:
            return self._backends[name]
        except KeyError:
            raise UnknownBackend(name, list(self._backends)) from None
