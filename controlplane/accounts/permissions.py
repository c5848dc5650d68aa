"""Roles at the door of every view."""

from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from controlplane.accounts.models import ApiToken, User, UserRole

if TYPE_CHECKING:
    # rest_framework.views imports this module through the settings.
    from rest_framework.views import APIView


def access_role(request: Request) -> UserRole | None:
    """The role that the caller acts with; None for an anonymous one."""
    if isinstance(request.auth, ApiToken):
        return request.auth.access_role
    if isinstance(request.user, User):
        return request.user.access_role
    return None


def refusal(request: Request, needed: UserRole) -> str:
    """Why the caller, who is known, may not do what needs that role; "" if they may."""
    role = access_role(request)
    if role is not None and role.includes(needed):
        return ""
    yours = "you have none" if role is None else f"yours is '{role.value}'"
    return f"This needs the role '{needed.value}'; {yours}."


class RolePermission(BasePermission):
    """Asks the view which role the request needs.

    The view has `required_role(request) -> UserRole`; one that has none is for
    admins, so that a forgotten rule locks a door instead of opening it.
    """

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Whether the caller has the role or a higher one."""
        if access_role(request) is None:
            return False
        rule = getattr(view, "required_role", None)
        self.message = refusal(request, UserRole.ADMIN if rule is None else rule(request))
        return not self.message


class ViewersReadOperatorsChange:
    """Mix-in for a view: safe methods for viewers, the others for operators."""

    def required_role(self, request: Request) -> UserRole:
        """The role that this request needs."""
        return UserRole.VIEWER if request.method in SAFE_METHODS else UserRole.OPERATOR


class ViewersReadAdminsChange:
    """Mix-in for a view: safe methods for viewers, the others for admins."""

    def required_role(self, request: Request) -> UserRole:
        """The role that this request needs."""
        return UserRole.VIEWER if request.method in SAFE_METHODS else UserRole.ADMIN


class AdminsOnly:
    """Mix-in for a view that only admins may use."""

    def required_role(self, request: Request) -> UserRole:
        """The role that this request needs."""
        return UserRole.ADMIN
