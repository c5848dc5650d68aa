"""Lookup clients that ask the workers' lookup servers."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from engine.lookup.channel import Channel, Ending, PendingQuestion
from engine.lookup.client import PENDING, Pending, Prompt
from engine.lookup.messages import Count, Forget, Load
from engine.lookup.tally import Event, LookupTally

TimeoutMs = Callable[[], int]
_LOADING_SHARE: Final = 0.8
"""Part of the timeout that a worker may spend on loading; then it answers."""
_MOST_UNCLAIMED: Final = 10_000
"""Answers that nobody came for; older ones are dropped."""
_FAULTS = {
    Ending.TIMED_OUT: Event.TIMEOUTS,
    Ending.UNREACHABLE: Event.UNREACHABLE,
    Ending.REFUSED: Event.REFUSALS,
    Ending.CLOSED: Event.UNREACHABLE,
}


class RPCLookupClient:
    """Asks every worker and waits for the answer."""

    name = "LMCacheLookupClient"

    def __init__(
        self, channel: Channel, root: bytes, timeout_ms: TimeoutMs, tally: LookupTally
    ) -> None:
        """The client closes the channel. `root` is the root of the chunk hashes."""
        self._channel = channel
        self._root = root
        self._timeout_ms = timeout_ms
        self._tally = tally

    def lookup(self, prompt: Prompt) -> int | Pending:
        number = self._channel.next_number()
        message = Count(
            number,
            prompt.request_id,
            self._root,
            prompt.num_tokens,
            prompt.chunk_size,
            b"".join(prompt.hashes),
        )
        question = self._channel.ask(number, prompt.request_id, message, self._timeout_ms() / 1000)
        return settle(question, question.wait(), prompt, self._channel, self._tally)

    def forget(self, request_id: str) -> None:
        self._channel.tell(Forget(request_id))

    def describe(self) -> str:
        return self.name

    def close(self) -> None:
        self._channel.close()


class AsyncLookupClient:
    """Asks every worker to bring the prompt's chunks near, and does not wait: the
    answer comes with a later lookup of the same request."""

    name = "LMCacheAsyncLookupClient"

    def __init__(
        self, channel: Channel, root: bytes, timeout_ms: TimeoutMs, tally: LookupTally
    ) -> None:
        """As RPCLookupClient."""
        self._channel = channel
        self._root = root
        self._timeout_ms = timeout_ms
        self._tally = tally
        self._asked: OrderedDict[str, PendingQuestion] = OrderedDict()
        self._asking = threading.Lock()

    def lookup(self, prompt: Prompt) -> int | Pending:
        with self._asking:
            question = self._asked.get(prompt.request_id)
            if question is None:
                self._asked[prompt.request_id] = self._ask(prompt)
                if len(self._asked) > _MOST_UNCLAIMED:
                    self._asked.popitem(last=False)
                return PENDING
            ending = question.ending_now()
            if ending is None:
                return PENDING
            del self._asked[prompt.request_id]
        return settle(question, ending, prompt, self._channel, self._tally)

    def forget(self, request_id: str) -> None:
        with self._asking:
            self._asked.pop(request_id, None)
        self._channel.tell(Forget(request_id))

    def describe(self) -> str:
        return self.name

    def close(self) -> None:
        self._channel.close()

    def _ask(self, prompt: Prompt) -> PendingQuestion:
        number = self._channel.next_number()
        timeout_ms = self._timeout_ms()
        message = Load(
            number,
            prompt.request_id,
            self._root,
            prompt.num_tokens,
            prompt.chunk_size,
            b"".join(prompt.hashes),
            timeout_ms * _LOADING_SHARE,
        )
        return self._channel.ask(number, prompt.request_id, message, timeout_ms / 1000)


def settle(
    question: PendingQuestion,
    ending: Ending,
    prompt: Prompt,
    channel: Channel,
    tally: LookupTally,
) -> int:
    """Tokens that an ended question stands for. What the workers keep for a request
    that was told "nothing" is of no use."""
    if ending is Ending.ANSWERED:
        if question.num_chunks == 0:
            return 0
        return prompt.tokens_of(question.num_chunks)
    tally.add(_FAULTS[ending])
    channel.tell(Forget(question.request_id))
    return 0
