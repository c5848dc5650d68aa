"""Why a caller makes a change, in the caller's words."""

from rest_framework.request import Request

from controlplane.audit.limits import MAX_REASON
from engine.contract import ContractError

REASON_HEADER = "X-KVPlane-Reason"
_VARIABLE = "HTTP_X_KVPLANE_REASON"


def reason_of(request: Request) -> str:
    """The text of the reason header, read as UTF-8; "" if there is none.

    Raises ContractError (400) for one that is too long, not UTF-8, or has
    control characters.
    """
    # WSGI hands header bytes over as Latin-1.
    raw = str(request.META.get(_VARIABLE, "")).encode("latin-1")
    try:
        reason = raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise _bad("is not valid UTF-8; send it as UTF-8") from None
    if len(reason) > MAX_REASON:
        raise _bad(f"has {len(reason)} characters; at most {MAX_REASON} are kept")
    if not reason.isprintable():
        raise _bad("has control characters; send one line of text")
    return reason


def _bad(why: str) -> ContractError:
    return ContractError(400, "Invalid reason", f"The header '{REASON_HEADER}' {why}.")
