"""What the admin pages of all apps have in common: access by role."""

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from controlplane.accounts.models import User, UserRole
from controlplane.audit import trail
from engine.contract import ContractError

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

# Generic for the type checker only: at run time django's class takes no argument.
if TYPE_CHECKING:
    _ModelAdmin = ModelAdmin[Any]
else:
    _ModelAdmin = ModelAdmin


class ForgivingList(ChangeList):
    """Takes a filter in the URL that no date can be for one that cannot be read. Django
    does so only for what it notices before it asks the database."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """The rows. Raises IncorrectLookupParameters."""
        try:
            return super().get_queryset(request, exclude_parameters)
        except (OverflowError, ValueError) as error:
            raise IncorrectLookupParameters(error) from error

    def get_results(self, request: HttpRequest) -> None:
        """Look the page up. Raises IncorrectLookupParameters."""
        try:
            super().get_results(request)
        except (OverflowError, ValueError) as error:
            raise IncorrectLookupParameters(error) from error


class RoleModelAdmin(_ModelAdmin):
    """Lets users with `view_role` look and admins change; django's own model
    permissions play no part."""

    view_role: ClassVar[UserRole] = UserRole.VIEWER
    change_role: ClassVar[UserRole] = UserRole.ADMIN
    reads: ClassVar[str]
    """The resource that the pages show, as the policy of reads calls it."""

    def follow_read(self, request: HttpRequest) -> None:
        """Note what the present request reads, for whoever keeps reads on record."""
        followed = trail.current()
        if followed is not None and request.method in _SAFE:
            followed.reads = self.reads

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """A list that any URL may ask for."""
        return ForgivingList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, a read."""
        self.follow_read(request)
        return super().changelist_view(request, extra_context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's own history of a record, a read."""
        self.follow_read(request)
        return super().history_view(request, object_id, extra_context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Deleting; asking back is a read."""
        self.follow_read(request)
        return super().delete_view(request, object_id, extra_context)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The form. What a service refuses after the form found nothing wrong,
        because somebody else was faster, is told above the form."""
        self.follow_read(request)
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except ContractError as error:
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> None:  # type: ignore[override]
        """Add to Django's own history when the change is committed: nothing is written
        after an audit entry, because entries take turns."""
        log = super().log_addition
        transaction.on_commit(lambda: log(request, obj, message), robust=True)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> None:  # type: ignore[override]
        """Add to Django's own history when the change is committed."""
        log = super().log_change
        transaction.on_commit(lambda: log(request, obj, message), robust=True)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whether the user may look."""
        return has_role(request, self.view_role)

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Whether the user may see the app on the index."""
        return has_role(request, self.view_role)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whether the user may add."""
        return has_role(request, self.change_role)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whether the user may change."""
        return has_role(request, self.change_role)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Whether the user may delete."""
        return has_role(request, self.change_role)


class ReadOnlyModelAdmin(RoleModelAdmin):
    """For records that only services write."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody may."""
        return False


def has_role(request: HttpRequest, role: UserRole) -> bool:
    """Whether who is logged in may do what the role may."""
    user = request.user
    return isinstance(user, User) and user.is_active and user.access_role.includes(role)
