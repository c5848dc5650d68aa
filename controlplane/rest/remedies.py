"""What a status means in words, and what a person can do about it."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType


@dataclass(frozen=True)
class Problem:
    """Why a page does not show what was asked for."""

    status: int
    title: str
    message: str
    remedy: str


REMEDIES: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        400: (
            "The request cannot be used",
            "Correct what the message names and send it again.",
        ),
        401: ("You are not logged in", "Log in; you come back to this page."),
        403: (
            "Your role does not allow this",
            "Ask an admin for the role that the message names, or log in as somebody who has it.",
        ),
        404: (
            "There is no such thing here",
            "Check the address, or begin at the start page; the lists there name what there is.",
        ),
        405: (
            "This address is for another method",
            "Use one of the forms of its page.",
        ),
        409: (
            "It does not go with what is there now",
            "Look at how things are now, as the message says, and then send it again.",
        ),
        415: ("The body is not declared as JSON", "Send it with Content-Type: application/json."),
        429: ("Too many requests", "Wait for as long as Retry-After says, and try again."),
        500: (
            "The control plane failed",
            "Its log has the details under the request id in the header X-Request-ID.",
        ),
        501: (
            "Agents of this dialect cannot do this",
            "Choose an agent of the dialect kvplane.",
        ),
        502: (
            "The agent cannot be reached",
            "Check that its process runs and that its URL is right, probe it from its page, and "
            "send the call again.",
        ),
        503: (
            "It is not available",
            "Choose an agent that has the component, or wait a moment and try again, as the "
            "message says.",
        ),
        504: (
            "The agent did not answer in time",
            "A change may have been made all the same: look at its operation, which the control "
            "loop completes, before you send it again.",
        ),
    }
)


def problem_of(status: int, document: object) -> Problem:
    """The problem that an error answer tells of."""
    phrase = HTTPStatus(status).phrase
    title, remedy = REMEDIES.get(status, (phrase, ""))
    said = document.get("message", "") if isinstance(document, Mapping) else ""
    return Problem(status, title, str(said), remedy)
