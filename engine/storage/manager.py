"""All storage backends of one cache engine."""

import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from engine.storage.chunk import BackendUsage
from engine.storage.local_cpu import LocalCPUBackend


class UnknownBackend(ValueError):
    """A backend name that this engine does not have."""

    def __init__(self, name: str, available: Sequence[str]) -> None:
        super().__init__(f"Backend '{name}' not found. Available: {list(available)}")
        self.name = name
        self.available = tuple(available)


class StorageManager:
    """The backends by name, in the order in which they are read, and what concerns
    all of them. Thread-safe."""

    def __init__(self, local_cpu: LocalCPUBackend) -> None:
        self.local_cpu = local_cpu
        self.backends: Mapping[str, LocalCPUBackend] = MappingProxyType({local_cpu.name: local_cpu})
        self._frozen = False
        self._freezing = threading.Lock()

    @property
    def frozen(self) -> bool:
        return self._frozen

    def freeze(self) -> None:
        """Freeze every backend; from the return of this call on none changes, except
        by an order to clear it."""
        with self._freezing:
            for backend in self.backends.values():
                backend.freeze()
            self._frozen = True

    def unfreeze(self) -> None:
        with self._freezing:
            for backend in self.backends.values():
                backend.unfreeze()
            self._frozen = False

    def clear(self, names: Sequence[str] = ()) -> dict[str, int]:
        """Remove all chunks of the named backends, or of all if none is named, and
        return how many by backend. Raises UnknownBackend before anything is
        removed."""
        for name in names:
            if name not in self.backends:
                raise UnknownBackend(name, list(self.backends))
        return {
            name: backend.clear()
            for name, backend in self.backends.items()
            if not names or name in names
        }

    def usage(self) -> dict[str, BackendUsage]:
        return {name: backend.usage() for name, backend in self.backends.items()}
