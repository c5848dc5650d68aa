"""Users and API tokens over HTTP."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, cast

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, status
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import GenericViewSet

from controlplane.accounts import serializers, services
from controlplane.accounts.actors import request_actor
from controlplane.accounts.filters import TokenFilter, UserFilter
from controlplane.accounts.models import ApiToken, User, UserRole
from controlplane.accounts.permissions import AdminsOnly, access_role
from controlplane.middleware import request_id_of
from controlplane.rest.answers import problem
from controlplane.rest.links import Link, LinkGroup, listed

_LAST_ADMIN = problem(
    HTTPStatus.CONFLICT,
    "Last admin",
    "This is the only active admin; make another user an admin first.",
    "It would leave nobody who can manage users.",
)
_NAME_TAKEN = problem(
    HTTPStatus.CONFLICT,
    "Name taken",
    "A user 'anna' exists; choose another name.",
    "Somebody else made a user of that name meanwhile.",
)


class UserViewSet(
    AdminsOnly, mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[User]
):
    """People and programs that may log in. A viewer reads, an operator changes, an admin
    also manages agents, users and tokens."""

    queryset = User.objects.all()
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = UserFilter
    ordering_fields = ["username", "date_joined"]
    ordering = ["username"]
    columns: ClassVar = ["username", "role", "is_active", "email", "last_login"]

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What one user has and did."""
        if "results" in document:
            return []
        name = document["username"]
        return [
            LinkGroup(
                f"Of {name}",
                (
                    Link("API tokens", listed("apitoken-list", user=name)),
                    Link("Operations", listed("operation-list", actor=name)),
                    Link("Audit entries", listed("auditentry-list", actor=name)),
                ),
            )
        ]

    def get_serializer_class(self) -> type[BaseSerializer[User]]:
        """By action: what is sent differs from what is shown."""
        return {
            "create": serializers.NewUserSerializer,
            "partial_update": serializers.UserChangesSerializer,
        }.get(self.action, serializers.UserSerializer)

    @extend_schema(responses={201: serializers.UserSerializer, **_NAME_TAKEN})
    def create(self, request: Request) -> Response:
        """Make a user who can log in."""
        data = self._validated(request)
        user = services.create_user(
            username=data["username"],
            password=data["password"],
            email=data["email"],
            role=UserRole(data["role"]),
            actor=request_actor(request),
            request_id=request_id_of(request),
        )
        return Response(serializers.UserSerializer(user).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses={200: serializers.UserSerializer, **_LAST_ADMIN})
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change role, e-mail, password, or whether the user may log in."""
        user = services.update_user(
            self.get_object(),
            self._validated(request),
            actor=request_actor(request),
            request_id=request_id_of(request),
        )
        return Response(serializers.UserSerializer(user).data)

    @extend_schema(responses={204: None, **_LAST_ADMIN})
    def destroy(self, request: Request, pk: str) -> Response:
        """Delete a user and the user's tokens."""
        services.delete_user(
            self.get_object(), actor=request_actor(request), request_id=request_id_of(request)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _validated(self, request: Request) -> dict[str, Any]:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return cast(dict[str, Any], serializer.validated_data)


class TokenViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, GenericViewSet[ApiToken]):
    """API tokens, with which programs call: one's own, and for admins everybody's. A program
    sends one as `Authorization: Bearer kvp_…`."""

    queryset = ApiToken.objects.select_related("user")
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = TokenFilter
    ordering_fields = ["id", "name", "created_at"]
    ordering = ["-id"]
    columns: ClassVar = ["name", "user", "role", "prefix", "expires_at", "revoked_at"]

    def required_role(self, request: Request) -> UserRole:
        """Everybody manages the tokens that they may see."""
        return UserRole.VIEWER

    def get_serializer_class(self) -> type[BaseSerializer[ApiToken]]:
        """By action: what is sent differs from what is shown."""
        if self.action == "create":
            return serializers.NewTokenSerializer
        return serializers.TokenSerializer

    def get_queryset(self) -> QuerySet[ApiToken]:
        """One's own tokens; all of them for an admin."""
        tokens = super().get_queryset()
        if access_role(self.request) is UserRole.ADMIN:
            return tokens
        return tokens.filter(user=cast(User, self.request.user))

    @extend_schema(
        request=serializers.NewTokenSerializer,
        responses={201: OpenApiResponse(serializers.IssuedTokenSerializer)},
    )
    def create(self, request: Request) -> Response:
        """Make a token. It is shown in this answer and never again."""
        if not _may_manage_tokens(request):
            raise PermissionDenied("Log in, or use an admin's token, to make a token.")
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        issued = services.create_token(
            user=_token_owner(request, data.get("user")),
            name=data["name"],
            role=UserRole(data["role"]),
            expires_at=data["expires_at"],
            granted_by=access_role(request) or UserRole.VIEWER,
            actor=request_actor(request),
            request_id=request_id_of(request),
        )
        response = Response(
            serializers.IssuedTokenSerializer(issued).data, status=status.HTTP_201_CREATED
        )
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(operation_id="revoke_token")
    def destroy(self, request: Request, pk: str) -> Response:
        """Revoke a token: it is useless from now on, and stays on the list."""
        token = self.get_object()
        if not _may_manage_tokens(request) and token != request.auth:
            raise PermissionDenied("A token revokes only itself; log in to revoke another.")
        services.revoke_token(
            token, actor=request_actor(request), request_id=request_id_of(request)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


def _may_manage_tokens(request: Request) -> bool:
    """Whoever steals a token must not make others from it that outlive it."""
    return not isinstance(request.auth, ApiToken) or access_role(request) is UserRole.ADMIN


def _token_owner(request: Request, username: str | None) -> User:
    caller = cast(User, request.user)
    if username is None or username == caller.username:
        return caller
    if access_role(request) is not UserRole.ADMIN:
        raise PermissionDenied("Only admins make tokens for others.")
    try:
        return User.objects.get(username=username)
    except User.DoesNotExist:
        raise ValidationError({"user": [f"There is no user '{username}'."]}) from None
