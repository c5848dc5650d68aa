"""A person who opens the page of a call has not made it yet."""

from http import HTTPStatus

from rest_framework.exceptions import MethodNotAllowed, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from controlplane.fleet.errors import NoDefaultAgent
from engine.contract import InvalidParameter, MissingParameters

_TOLD_TOO_LITTLE = (InvalidParameter, MissingParameters, NoDefaultAgent, ValidationError)


class FirstLook(Response):
    """The page of a call that was not made, with a line that says what it needs."""

    def __init__(self, needs: str = "") -> None:
        super().__init__(status=HTTPStatus.OK)
        self.needs = needs


def is_browsing(request: Request) -> bool:
    """Whether the answer is a page for a person."""
    renderer = getattr(request, "accepted_renderer", None)
    return getattr(renderer, "format", "") == "api"


def is_first_look(error: Exception, request: Request) -> bool:
    """Whether a browser opened the address of a change, or of a read that has to be told
    more, without telling it anything."""
    if request.method != "GET" or not is_browsing(request):
        return False
    if isinstance(error, MethodNotAllowed):
        return True
    return isinstance(error, _TOLD_TOO_LITTLE) and not request.query_params
