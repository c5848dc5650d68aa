"""What every page has: a login, a role, errors that a person can read."""

import logging
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import Error as DatabaseError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.gzip import gzip_page
from django_htmx.middleware import HtmxDetails
from rest_framework.exceptions import APIException, ValidationError

from controlplane.accounts.models import User, UserRole
from controlplane.audit import trail
from controlplane.audit.events import latest_cursor
from controlplane.dashboard.chain import chain_status
from engine.contract import ContractError

logger = logging.getLogger(__name__)
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_TOLD = (
    ContractError,
    APIException,
    Http404,
    PermissionDenied,
    SuspiciousOperation,
    DatabaseError,
)
_TOO_MUCH = (
    "A field has a NUL character, or there are more than 10,000 fields. Select fewer agents; for "
    "more of them make an operation with a selector over the API."
)


# A page of 500 agents is some thirty times smaller so. What an attacker could learn from lengths is
# the token of forms, which is masked anew in every answer; requests from other sites come
# without the session (SameSite=Lax), and Django varies the lengths.
@method_decorator(gzip_page, name="dispatch")
class DashboardView(View):
    """A page for who is logged in: viewers see it, and change something only with the
    role `changes`."""

    changes: ClassVar[UserRole] = UserRole.OPERATOR
    reads: ClassVar[str] = ""
    """The resource that is shown, for the policy of reads that go on record."""
    reads_also: ClassVar[tuple[str, ...]] = ()
    """Other resources that are shown on the same page."""
    section: ClassVar[str] = ""
    """The entry of the navigation that is current."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer, with an error as a page too."""
        try:
            if not self.is_part():
                # Before what is shown is read: what happens meanwhile is fetched again.
                self.cursor = latest_cursor()
            response = self._admit(request) or super().dispatch(request, *args, **kwargs)
        except _TOLD as error:
            response = self._error_page(error)
        # Two answers have the same address: a page, and the live part of it.
        response.headers["Vary"] = "HX-Request, Cookie"
        response.headers["Cache-Control"] = "no-store"
        return response

    def http_method_not_allowed(self, request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
        """An address that is only sent to, opened."""
        raise Http404("There is no page at this address, only a button that leads here.")

    @property
    def user(self) -> User:
        """Who is logged in."""
        user = self.request.user
        if not isinstance(user, User):
            raise PermissionDenied("Log in.")
        return user

    def may(self, role: UserRole) -> bool:
        """Whether the user may do what the role may."""
        return self.user.access_role.includes(role)

    def is_part(self) -> bool:
        """Whether htmx asks for a part of the page that it has."""
        htmx = HtmxDetails(self.request)
        return bool(htmx) and not htmx.history_restore_request

    def page(
        self, template: str, context: dict[str, object], status: HTTPStatus = HTTPStatus.OK
    ) -> HttpResponse:
        """The template as a page, with what every page shows."""
        everywhere = {
            "section": self.section,
            "chain": chain_status(),
            "cursor": self.cursor,
            "now": timezone.now(),
            **self._rights(),
        }
        return render(self.request, template, {**everywhere, **context}, status=status.value)

    def part(self, template: str, context: dict[str, object]) -> HttpResponse:
        """The template as a part of a page that is there."""
        return render(self.request, template, {"now": timezone.now(), **self._rights(), **context})

    def _rights(self) -> dict[str, object]:
        return {"may_operate": self.may(UserRole.OPERATOR), "may_admin": self.may(UserRole.ADMIN)}

    def _admit(self, request: HttpRequest) -> HttpResponse | None:
        """Where to log in, if nobody is. Raises PermissionDenied."""
        if not isinstance(request.user, User) or not request.user.is_active:
            return self._to_login(request)
        needed = UserRole.VIEWER if request.method in _SAFE else self.changes
        if not self.may(needed):
            raise PermissionDenied(
                f"Your role '{self.user.access_role}' may look; this needs the role '{needed}'. "
                "An admin can give it to you."
            )
        if any("\x00" in text for values in request.POST.lists() for text in values[1]):
            raise SuspiciousOperation("A field has a NUL character; leave it out.")
        followed = trail.current()
        if followed is not None and request.method in _SAFE:
            followed.reads = self.reads
            followed.reads_also = self.reads_also
        return None

    def _to_login(self, request: HttpRequest) -> HttpResponse:
        login = resolve_url(settings.LOGIN_URL)
        if not self.is_part():
            # What was sent is lost; an address that is only sent to is no page to return to.
            is_page = request.method in _SAFE
            after = request.get_full_path() if is_page else reverse("dashboard:fleet")
            return HttpResponseRedirect(f"{login}?next={quote(after)}")
        # The whole page is to go there, not the part that was asked for.
        shown = HtmxDetails(request).current_url_abs_path or request.get_full_path()
        response = HttpResponse(status=HTTPStatus.NO_CONTENT)
        response.headers["HX-Redirect"] = f"{login}?next={quote(shown)}"
        return response

    def _error_page(self, error: Exception) -> HttpResponse:
        status, title, message = _explain(error)
        context: dict[str, object] = {
            "title": title,
            "message": message,
            "status": status.value,
            "request_id": getattr(self.request, "request_id", ""),
        }
        if isinstance(error, DatabaseError):
            # Without what the database would have to tell.
            return render(self.request, "dashboard/error.html", context, status=status.value)
        self.cursor = latest_cursor()
        return self.page("dashboard/error.html", context, status)


def _explain(error: Exception) -> tuple[HTTPStatus, str, str]:
    """Status, title, and what to do about it."""
    if isinstance(error, ContractError):
        return HTTPStatus(error.status), error.error, error.message
    if isinstance(error, ValidationError):
        return HTTPStatus.BAD_REQUEST, "The address cannot be read", _first_of(error.detail)
    if isinstance(error, APIException):
        return HTTPStatus(error.status_code), "This did not work", str(error.detail)
    if isinstance(error, SuspiciousOperation):
        return HTTPStatus.BAD_REQUEST, "This is too much, or not text", _TOO_MUCH
    if isinstance(error, PermissionDenied):
        return HTTPStatus.FORBIDDEN, "Your role does not allow this", str(error)
    if isinstance(error, Http404):
        return (
            HTTPStatus.NOT_FOUND,
            "There is nothing here",
            str(error) or "It may have been removed. Begin again with the fleet.",
        )
    logger.error("the database failed", exc_info=error)
    return (
        HTTPStatus.SERVICE_UNAVAILABLE,
        "The database did not answer",
        "Nothing was changed. Try again; the log of the control plane has the details under "
        "this request's id.",
    )


def _first_of(detail: object) -> str:
    """The first message of a ValidationError, with the name of its parameter."""
    if isinstance(detail, dict):
        name, messages = next(iter(detail.items()))
        return f"'{name}': {_first_of(messages)}"
    return _first_of(detail[0]) if isinstance(detail, list) else str(detail)


class NoSuchPage(DashboardView):
    """Any other path below `/dashboard/`."""

    def get(self, request: HttpRequest, **_: object) -> HttpResponse:
        """Raises Http404."""
        raise Http404("There is no page at this address. Begin again with the fleet.")
