"""What a lookup does with the tiers: find the prefix, and keep it near."""

from collections.abc import Callable, Sequence

from engine.storage.backend import SlowBackend
from engine.storage.chunk import Reservation, StoredChunk
from engine.storage.holds import Holds
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.prefix import Memory, Prefix, find_prefix
from engine.storage.read_ahead import Buffer, ChunkUnreadable, NoMemoryToRead, ReadAhead
from engine.tokens import ChunkKey


class Promise:
    """The longest stored prefix of one request's keys. Its chunks in memory are
    pinned, and held for the request when the promise is kept."""

    def __init__(
        self,
        local_cpu: LocalCPUBackend,
        readable: Sequence[LocalCPUBackend | SlowBackend],
        keys: Sequence[ChunkKey],
    ) -> None:
        self._local_cpu = local_cpu
        self._keys = keys
        pinned = local_cpu.pin(keys) if local_cpu in readable else {}
        slow = [b for b in readable if not isinstance(b, LocalCPUBackend)]
        self.prefix: Prefix = find_prefix(keys, [key in pinned for key in keys], slow)
        self._pinned = list(pinned.values())

    @property
    def num_pinned(self) -> int:
        """Chunks that are pinned so far."""
        return len(self._pinned)

    @property
    def num_chunks(self) -> int:
        """Chunks of the prefix."""
        return len(self.prefix.sources)

    def load(self, sizes: Sequence[int], ahead: ReadAhead, go_on: Callable[[], bool]) -> int:
        """Read the chunks that lie in slower tiers into memory while `go_on()` and as far
        as there is room: what stays where it is can still be retrieved from there.
        How many chunks of the prefix can be read: a chunk that cannot ends it."""
        ahead.plan(self.prefix.sources, self._keys, sizes)
        try:
            for position, source in enumerate(self.prefix.sources):
                if not go_on():
                    break
                if not isinstance(source, Memory):
                    self._admit(ahead.take(position), ahead)
        except NoMemoryToRead:
            return self.num_chunks
        except ChunkUnreadable:
            return position
        finally:
            ahead.close()
        return self.num_chunks

    def keep(self, request_id: str, holds: Holds, num_chunks: int) -> None:
        """Hold the chunks in memory that belong to the first `num_chunks`."""
        wanted = set(self._keys[:num_chunks])
        kept = [stored for stored in self._pinned if stored.key in wanted]
        rest = [stored for stored in self._pinned if stored.key not in wanted]
        self._pinned = []
        self._local_cpu.release(rest)
        holds.hold(request_id, kept)

    def drop(self) -> None:
        """Hold nothing. No effect once the promise is kept."""
        pinned, self._pinned = self._pinned, []
        self._local_cpu.release(pinned)

    def _admit(self, loaded: Buffer | StoredChunk, ahead: ReadAhead) -> None:
        if isinstance(loaded, StoredChunk):
            self._pinned.append(loaded)
            return
        if isinstance(loaded, Reservation):
            admission = self._local_cpu.complete_store(loaded)
            if isinstance(admission, StoredChunk):
                self._pinned.append(admission)
                return
        ahead.give_back(loaded)
        raise NoMemoryToRead("The hot cache does not take it any more.")
