"""Routing under `/api/v1/`."""

from rest_framework.routers import SimpleRouter


class LenientRouter(SimpleRouter):
    """Answers the same with and without the trailing slash, without a redirect,
    which would turn a POST into a GET."""

    def __init__(self) -> None:
        super().__init__()
        self.trailing_slash = "/?"
