"""Why a caller makes a change, in the caller's words."""

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from controlplane.audit.limits import MAX_REASON
from engine.contract import ContractError

REASON_HEADER = "X-KVPlane-Reason"
REASON_PARAMETER = "reason"
"""The same in the query string, for text that a client cannot put into a header."""
_VARIABLE = "HTTP_X_KVPLANE_REASON"
REASON_PARAMETERS = (
    OpenApiParameter(
        REASON_PARAMETER,
        str,
        description="Why the change is made; kept in the audit log. At most "
        f"{MAX_REASON} characters.",
    ),
    OpenApiParameter(
        REASON_HEADER,
        str,
        OpenApiParameter.HEADER,
        description="The same in a header, for callers who must leave the query as it is; "
        f"`{REASON_PARAMETER}` goes before it.",
    ),
)


def reason_of(request: Request) -> str:
    """The text of `?reason=`, else of the reason header, read as UTF-8; "" if there
    is none.

    Raises ContractError (400) for one that is too long, not UTF-8, or has
    control characters.
    """
    given = request.query_params.get(REASON_PARAMETER)
    where = f"header '{REASON_HEADER}'" if given is None else f"parameter '{REASON_PARAMETER}'"
    reason = (_header_of(request) if given is None else given).strip()
    if len(reason) > MAX_REASON:
        raise _bad(where, f"has {len(reason)} characters; at most {MAX_REASON} are kept")
    if not reason.isprintable():
        raise _bad(where, "has control characters; send one line of text")
    return reason


def _header_of(request: Request) -> str:
    # WSGI hands header bytes over as Latin-1.
    raw = str(request.META.get(_VARIABLE, "")).encode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad(f"header '{REASON_HEADER}'", "is not valid UTF-8; send it as UTF-8") from None


def _bad(where: str, why: str) -> ContractError:
    return ContractError(400, "Invalid reason", f"The {where} {why}.")
