"""What pages may load, run and call: what is of this site, and nothing else."""

from collections.abc import Callable, Mapping
from functools import wraps

from django.http import HttpRequest, HttpResponseBase

HEADER = "Content-Security-Policy"
_OWN = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
_DOCUMENTS = {
    **_OWN,
    # Both viewers make their styles as they run, one has pictures inside of its styles, the
    # other searches in a worker that it makes of its own text.
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "worker-src": "blob:",
}

View = Callable[..., HttpResponseBase]


def _written(sources: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {allowed}" for name, allowed in sources.items())


PAGES = _written(_OWN)
DOCUMENTS = _written(_DOCUMENTS)
"""For the pages that show the OpenAPI document."""


class ContentPolicyMiddleware:
    """Sends the policy of PAGES with every page, unless the view has sent another one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        response = self._get_response(request)
        if response.headers.get("Content-Type", "").startswith("text/html"):
            response.headers.setdefault(HEADER, PAGES)
        return response


def as_document(view: View) -> View:
    """The view, under the policy of DOCUMENTS."""

    @wraps(view)
    def shown(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        response.headers[HEADER] = DOCUMENTS
        return response

    return shown
