"""The identifier under which one request is found in every log."""

import re
import secrets

HEADER = "x-request-id"

# Visible ASCII only: the id is written into log lines and headers.
_SANE = re.compile(r"[!-~]{1,128}", re.ASCII)


def request_id_from(given: str | None) -> str:
    """The caller's id if it is 1 to 128 visible ASCII characters, else a new
    one."""
    if given is not None and _SANE.fullmatch(given):
        return given
    return secrets.token_hex(16)
