"""Who gets a page, and who gets what the endpoint answers with."""

from collections.abc import Iterable

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class PageIfNamed(BaseContentNegotiation):
    """A page for a caller that asks for HTML by name, and the plain renderer for everyone
    else: an agent does not look at `Accept` either, and a file is streamed past the
    renderers, so neither a 406 nor a change of format may come in between."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """The first."""
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """One of the two: the plain one, or that of the page."""
        plain, page = renderers
        chosen = page if "text/html" in request.META.get("HTTP_ACCEPT", "") else plain
        return chosen, str(chosen.media_type)
