"""What the scheduler knows of saves that its workers have not finished."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class _Saves:
    """Of one request."""

    chunks: deque[Sequence[bytes]] = field(default_factory=deque)
    """The hashes of each save, in the order in which every worker does them."""
    reports: int = 0
    """How often a worker has done the first of them, or a later one."""


class SavesUnderWay:
    """Saves of all requests, ended ones too, until every worker has done them."""

    def __init__(self, num_workers: int) -> None:
        self._num_workers = num_workers
        self._by_request: dict[str, _Saves] = {}
        self._coming: Counter[bytes] = Counter()

    def begin(self, request_id: str, hashes: Sequence[bytes]) -> None:
        """The workers are told to save these chunks."""
        self._by_request.setdefault(request_id, _Saves()).chunks.append(hashes)
        self._coming.update(hashes)

    def note(self, request_id: str, times: int) -> None:
        """So many more workers have done a save of that request."""
        saves = self._by_request.get(request_id)
        if saves is None:
            return
        saves.reports += times
        while saves.chunks and saves.reports >= self._num_workers:
            saves.reports -= self._num_workers
            self._done(saves.chunks.popleft())
        if not saves.chunks:
            del self._by_request[request_id]

    def has(self, request_id: str) -> bool:
        """Whether a save of that request is not done everywhere."""
        return request_id in self._by_request

    def brings(self, chunk_hash: bytes) -> bool:
        """Whether some request saves that chunk now."""
        return chunk_hash in self._coming

    def _done(self, hashes: Sequence[bytes]) -> None:
        for chunk_hash in hashes:
            self._coming[chunk_hash] -= 1
            if not self._coming[chunk_hash]:
                del self._coming[chunk_hash]
