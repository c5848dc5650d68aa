"""Who gets HTML, and who gets the agent's bytes."""

from collections.abc import Iterable

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class PassThroughNegotiation(BaseContentNegotiation):
    """HTML for a caller that asks for it by name, the documented media type for
    everyone else: an agent does not look at `Accept` either, so neither a 406
    nor a change of format may come between it and its clients."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        plain, browsable = renderers
        chosen = browsable if "text/html" in request.META.get("HTTP_ACCEPT", "") else plain
        return chosen, str(chosen.media_type)
