"""Remembering which requests were counted."""

from collections import OrderedDict

_BYTES_A_REQUEST = 200
"""An integer and its place in an ordered dictionary, measured."""


class SeenRequests:
    """The requests that were looked up last, at most `limit`. A request that comes again
    after that many others is taken for a new one. Not thread-safe.

    Of an id, which may have any length, only Python's hash is kept: 64 bits, so two of
    65,536 ids agree with a chance of 10^-10.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ids: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, request_id: str) -> bool:
        """A request that is asked for has been looked up again just now."""
        number = hash(request_id)
        if number not in self._ids:
            return False
        self._ids.move_to_end(number)
        return True

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, request_id: str) -> None:
        self._ids[hash(request_id)] = None
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    @property
    def memory_bytes(self) -> int:
        """About as much memory is taken."""
        return len(self._ids) * _BYTES_A_REQUEST
