"""Reading chunks from slower tiers while the caller copies those before them."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass

from engine.storage.backend import ChunkBuffer, SlowBackend
from engine.storage.chunk import Refusal, Reservation, StoredChunk
from engine.storage.local_cpu import LocalCPUBackend
from engine.storage.payload import payload_of
from engine.storage.prefix import Memory, Source
from engine.storage.staging import NoStagingMemory, StagedChunk, StagingArea
from engine.tokens import ChunkKey

_BATCHES_AHEAD = 3

Buffer = Reservation | StagedChunk
"""Memory that is the holder's alone."""
Prepare = Callable[[ChunkKey, int], Reservation | StoredChunk | Refusal]


class ChunkUnreadable(Exception):
    """A chunk that was there cannot be read, or there is no memory to read it into."""


class NoMemoryToRead(ChunkUnreadable):
    """There is no memory to read the chunk into."""


@dataclass
class _Batch:
    """Consecutive chunks of one tier, from position `first`; `loaded` gives how many
    of them were read, `taken` how many the caller has."""

    first: int
    buffers: list[Buffer]
    loaded: "Future[int]"
    taken: int = 0


class ReadAhead:
    """The chunks of one request that lie in slower tiers, read a few batches ahead
    into memory of the hot cache or, where that takes nothing, into staging memory.

    For one thread. Until it is closed memory may be written to.
    """

    def __init__(
        self,
        local_cpu: LocalCPUBackend,
        staging: StagingArea,
        prepare: Prepare,
        loaders: Mapping[str, Executor],
        *,
        patience_s: float,
    ) -> None:
        """`prepare` gives memory of the hot cache, as LocalCPUBackend.prepare_store does,
        or refuses; `loaders` are the threads of each slower tier by its name;
        `patience_s` is how many seconds a request that has no memory waits for
        some."""
        self._local_cpu = local_cpu
        self._prepare = prepare
        self._staging = staging
        self._loaders = loaders
        self._patience_s = patience_s
        self._sources: Sequence[Source] = ()
        self._keys: Sequence[ChunkKey] = ()
        self._sizes: Sequence[int] = ()
        self._batches: deque[_Batch] = deque()
        self._arrived: dict[int, StoredChunk] = {}
        """Chunks that came into the hot cache by another request, pinned."""
        self._next = 0

    def plan(
        self, sources: Sequence[Source], keys: Sequence[ChunkKey], sizes: Sequence[int]
    ) -> None:
        """Take on the positions whose source is not memory."""
        self._sources, self._keys, self._sizes = sources, keys, sizes

    def take(self, position: int) -> Buffer | StoredChunk:
        """The chunk of that position, read, or pinned where the hot cache has it by
        now; the caller's from here on. Positions are asked for in order. Raises
        ChunkUnreadable, and what the tier raised all the same."""
        self._start_batches()
        if position in self._arrived:
            return self._arrived.pop(position)
        if not self._batches:
            raise NoMemoryToRead("There is no memory to read it into.")
        batch = self._batches[0]
        if batch.taken == batch.loaded.result():
            raise ChunkUnreadable("The tier does not give it.")
        buffer = batch.buffers[batch.taken]
        batch.taken += 1
        if batch.taken == len(batch.buffers):
            self._batches.popleft()
        return buffer

    def close(self) -> None:
        """Give back all memory that the caller has not taken."""
        # Not before nothing writes to it any more.
        wait([batch.loaded for batch in self._batches])
        for batch in self._batches:
            for buffer in batch.buffers[batch.taken :]:
                self.give_back(buffer)
        self._batches.clear()
        self._local_cpu.release(list(self._arrived.values()))
        self._arrived.clear()

    def give_back(self, buffer: Buffer) -> None:
        """Free the memory of a chunk that was not completed."""
        if isinstance(buffer, StagedChunk):
            self._staging.release(buffer)
        else:
            self._local_cpu.abort_store(buffer)

    def _start_batches(self) -> None:
        while len(self._batches) < _BATCHES_AHEAD and self._next < len(self._sources):
            source = self._sources[self._next]
            if isinstance(source, Memory):
                self._next += 1
            elif not self._start_batch(source):
                return

    def _start_batch(self, tier: SlowBackend) -> bool:
        """Begin to read the next chunks; False if there is no memory for one."""
        first = self._next
        with ExitStack() as unread:
            buffers = self._next_buffers(tier, unread)
            if not buffers:
                return first in self._arrived
            wanted = [
                ChunkBuffer(buffer.key, buffer.num_tokens, payload_of(buffer.chunk))
                for buffer in buffers
            ]
            loaded = self._loaders[tier.name].submit(tier.load, wanted)
            self._batches.append(_Batch(first, buffers, loaded))
            unread.pop_all()
        return True

    def _next_buffers(self, tier: SlowBackend, unread: ExitStack) -> list[Buffer]:
        """Memory for the next chunks of that tier, which `unread` gives back. None if
        there is no memory, and if the first of them has arrived by itself."""
        buffers: list[Buffer] = []
        while (
            self._next < len(self._sources)
            and self._sources[self._next] is tier
            and len(buffers) < tier.batch_size
        ):
            try:
                memory = self._memory_for(self._next, must_wait=not buffers and not self._batches)
            except NoStagingMemory:
                break
            if isinstance(memory, StoredChunk):
                if buffers:
                    self._local_cpu.release([memory])
                else:
                    self._arrived[self._next] = memory
                    self._next += 1
                break
            unread.callback(self.give_back, memory)
            buffers.append(memory)
            self._next += 1
        return buffers

    def _memory_for(self, position: int, *, must_wait: bool) -> Buffer | StoredChunk:
        key, size = self._keys[position], self._sizes[position]
        admission = self._prepare(key, size)
        if isinstance(admission, Reservation | StoredChunk):
            return admission
        # With something under way the caller frees memory soon; else others do.
        return self._staging.take(key, size, self._patience_s if must_wait else 0.0)
