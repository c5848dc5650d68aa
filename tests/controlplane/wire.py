"""A transport without a wire: tests say what agents answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.forwarding.transport import RawAnswer, TooLong, WireRequest


def reply(document: object, status: int = 200, media_type: str = "application/json") -> RawAnswer:
    """An answer with that document as JSON."""
    return RawAnswer(status, media_type, json.dumps(document).encode())


@dataclass
class FakeAgents:
    """Stands where the network is; `respond` may be replaced by a test."""

    respond: Callable[[WireRequest], RawAnswer]
    requests: list[WireRequest] = field(default_factory=list)

    def exchange(self, request: WireRequest, seconds: float, max_bytes: int) -> RawAnswer:
        self.requests.append(request)
        answer = self.respond(request)
        if len(answer.body) > max_bytes:
            raise TooLong(max_bytes)
        return answer
