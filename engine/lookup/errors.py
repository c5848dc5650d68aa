"""Why a lookup client or server cannot be made."""


class LookupUnavailable(Exception):
    """The configuration asks for what cannot be here; the text says what and which key
    to change."""
