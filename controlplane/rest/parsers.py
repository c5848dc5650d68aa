"""The request body: JSON, read as strictly as agents read it."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

from engine.contract import MAX_BODY_BYTES, InvalidBody, parse_json_object


class StrictJSONParser(BaseParser):
    """One JSON object: no duplicate keys, no NaN, no NUL characters, at most
    1 MiB."""

    media_type = "application/json"
    # Makes the browsable API offer a form for raw data in this media type.
    renderer_class = JSONRenderer

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, object]:
        """The object. Raises ParseError (400)."""
        try:
            document = parse_json_object(stream.read(MAX_BODY_BYTES + 1))
        except InvalidBody as error:
            raise ParseError(error.message) from None
        if has_nul(document):
            raise ParseError("A string has a NUL character (\\u0000); leave it out.")
        return document


def has_nul(node: object) -> bool:
    """Whether a text of the document has a NUL, which PostgreSQL cannot store."""
    if isinstance(node, str):
        return "\x00" in node
    if isinstance(node, dict):
        return any(has_nul(part) for item in node.items() for part in item)
    return isinstance(node, list) and any(has_nul(part) for part in node)
