"""The fleet over HTTP."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, cast

from django.conf import settings
from django.db import IntegrityError
from django.db.models import Prefetch
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from controlplane.accounts.actors import request_actor
from controlplane.accounts.models import UserRole
from controlplane.accounts.permissions import AdminsOnly, ViewersReadAdminsChange
from controlplane.fleet import serializers, services
from controlplane.fleet.filters import AgentFilter, EngineFilter, EnrolmentTokenFilter
from controlplane.fleet.models import Agent, Dialect, Engine, EnrolmentToken
from controlplane.fleet.throttling import EnrolThrottle
from controlplane.fleet.validation import NAME_PATTERN
from controlplane.middleware import request_id_of
from controlplane.operations.probing import probe_on_record
from controlplane.rest.answers import problem, usual
from controlplane.rest.calls import calls_of
from controlplane.rest.forms import Field, Place
from controlplane.rest.links import Link, LinkGroup, agent_links, agent_page, listed
from engine.contract import ContractError, Role, Unauthorized

_ENGINE_EXISTS = problem(
    HTTPStatus.CONFLICT,
    "Engine exists",
    "An engine 'smollm2' exists; choose another name.",
    "Another engine has that name.",
)
_ENGINE_IN_USE = problem(
    HTTPStatus.CONFLICT,
    "Engine in use",
    "The engine 'smollm2' has agents; remove them first.",
    "It has agents.",
)
_NAME_TAKEN = problem(
    HTTPStatus.CONFLICT,
    "Agent name taken",
    "An agent 'smollm2-worker-0' is known, and this enrolment did not prove to be its own: the "
    "agent_token is not the stored one. Choose another name, or have an admin store the new "
    "agent_token or remove that agent.",
    "The name belongs to an agent with another agent_token.",
)
_NOT_ITS_OWN = problem(
    HTTPStatus.FORBIDDEN,
    "Not its own",
    "Only agent 'smollm2-worker-0' itself says that it ends: the agent_token is not the stored "
    "one. Admins may remove it.",
    "It is not the agent's own word.",
)
_LINK_TITLES = {
    "revisions": "Revisions of its configuration",
    "modes": "Modes as they should be",
    "mode_changes": "Mode changes",
    "operations": "Operations",
    "chunk_statistics": "Chunk statistics",
    "tier_statistics": "Tier statistics",
    "watch": "Watch: drift, repairs and their policy",
    "audit": "Audit entries",
    "status": "Its status, asked now",
}
_ENROLMENT_TOKEN = Field(
    "Authorization",
    place=Place.HEADER,
    label="enrolment token",
    help="Made at /api/v1/enrolment-tokens/.",
    placeholder="Bearer kvpe_…",
    required=True,
)


class EngineViewSet(
    ViewersReadAdminsChange,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Engine],
):
    """Engines: a scheduler and its workers each. Agents that register make theirs by
    themselves, so there is seldom a need to make one here."""

    queryset = Engine.objects.prefetch_related(
        Prefetch("agents", Agent.objects.only("name", "engine_id"))
    )
    lookup_field = "name"
    lookup_value_regex = NAME_PATTERN
    filterset_class = EngineFilter
    ordering_fields = ["name", "created_at"]
    ordering = ["name"]
    columns: ClassVar = ["name", "agents", "labels", "created_at"]

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What belongs to one engine."""
        if "results" in document:
            return []
        name = document["name"]
        agents = [Link(f"Agent {agent}", agent_page(agent)) for agent in document["agents"]]
        kept = [
            Link("Watches", listed("watch-list", engine=name)),
            Link("Chunk statistics", listed("chunkstatisticssnapshot-list", engine=name)),
            Link("Audit entries", listed("auditentry-list", engine=name)),
        ]
        return [LinkGroup("Its agents", tuple(agents)), LinkGroup("What is kept", tuple(kept))]

    def get_serializer_class(self) -> type[BaseSerializer[Engine]]:
        """By action: what is sent differs from what is shown."""
        if self.action in ("create", "update"):
            return serializers.EngineWriteSerializer
        return serializers.EngineSerializer

    @extend_schema(responses={201: serializers.EngineSerializer, **_ENGINE_EXISTS})
    def create(self, request: Request) -> Response:
        """Make an engine; agents that register make theirs by themselves."""
        return Response(self._save(request, Engine()), status=status.HTTP_201_CREATED)

    @extend_schema(responses={200: serializers.EngineSerializer, **_ENGINE_EXISTS})
    def update(self, request: Request, name: str) -> Response:
        """Replace an engine's name and labels."""
        return Response(self._save(request, self.get_object()))

    @extend_schema(responses={204: None, **_ENGINE_IN_USE})
    def destroy(self, request: Request, name: str) -> Response:
        """Forget an engine that has no agents."""
        services.remove_engine(
            self.get_object(), actor=request_actor(request), request_id=request_id_of(request)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _save(self, request: Request, engine: Engine) -> Any:
        data = _validated(self.get_serializer(data=request.data))
        try:
            saved = services.save_engine(
                engine,
                name=data["name"],
                labels=data.get("labels", {}),
                actor=request_actor(request),
                request_id=request_id_of(request),
            )
        except IntegrityError:
            raise ContractError(
                409, "Engine exists", f"An engine '{data['name']}' exists; choose another name."
            ) from None
        return serializers.EngineSerializer(saved).data


class AgentViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Agent],
):
    """Agents: the processes that serve the documented API, each a scheduler or a worker of
    an engine. The page of an agent leads to everything that can be asked of it and to
    everything that is kept about it."""

    queryset = Agent.objects.select_related("engine")
    lookup_field = "name"
    lookup_value_regex = NAME_PATTERN
    filterset_class = AgentFilter
    ordering_fields = ["name", "role", "registered_at"]
    ordering = ["name"]
    columns: ClassVar = ["name", "engine", "role", "worker_id", "health", "last_seen_at", "url"]

    def related_links(self, document: Mapping[str, Any]) -> list[LinkGroup]:
        """What is kept about one agent, and every documented call of it."""
        if "results" in document:
            return []
        name = document["name"]
        kept = [Link(_LINK_TITLES[key], url) for key, url in agent_links(name, None).items()]
        return [LinkGroup("What is kept about it", tuple(kept)), *calls_of(name)]

    def required_role(self, request: Request) -> UserRole:
        """Viewers read, operators probe, admins register and remove."""
        if self.action == "probe":
            return UserRole.OPERATOR
        return ViewersReadAdminsChange().required_role(request)

    def get_serializer_class(self) -> type[BaseSerializer[Agent]]:
        """By action: what is sent differs from what is shown."""
        by_action: dict[str, type[BaseSerializer[Agent]]] = {
            "list": serializers.AgentSerializer,
            "create": serializers.AgentWriteSerializer,
            "update": serializers.AgentChangesSerializer,
            "partial_update": serializers.AgentChangesSerializer,
        }
        return by_action.get(self.action, serializers.AgentDetailSerializer)

    @extend_schema(
        operation_id="register_agent",
        responses={
            200: OpenApiResponse(serializers.AgentDetailSerializer, "It was known already."),
            201: OpenApiResponse(serializers.AgentDetailSerializer, "It is new."),
        },
    )
    def create(self, request: Request) -> Response:
        """Register an agent, or change the one of that name."""
        data = _validated(self.get_serializer(data=request.data))
        return self._register(request, data["name"], data)

    @extend_schema(responses={200: serializers.AgentDetailSerializer})
    def update(self, request: Request, name: str) -> Response:
        """Replace what is known of an agent; its token stays unless given."""
        agent = self.get_object()
        return self._register(
            request, agent.name, _validated(self.get_serializer(data=request.data))
        )

    @extend_schema(responses={200: serializers.AgentDetailSerializer})
    def partial_update(self, request: Request, name: str) -> Response:
        """Change what is given of an agent, and leave the rest."""
        agent = self.get_object()
        changes = _validated(self.get_serializer(data=request.data, partial=True))
        return self._answer(
            request,
            services.change_agent(
                agent,
                _typed(changes),
                actor=request_actor(request),
                request_id=request_id_of(request),
            ),
        )

    def destroy(self, request: Request, name: str) -> Response:
        """Forget an agent. It is not called."""
        services.remove_agent(
            self.get_object(), actor=request_actor(request), request_id=request_id_of(request)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        request=None,
        responses={
            200: serializers.AgentDetailSerializer,
            **usual(502, 504),
        },
    )
    @action(detail=True, methods=["post"])
    def probe(self, request: Request, name: str) -> Response:
        """Ask an agent how it is, and keep what it says."""
        agent = self.get_object()
        (said,) = probe_on_record(
            [agent],
            actor=request_actor(request),
            reason="",
            request_id=request_id_of(request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
        )
        if isinstance(said, ContractError):
            raise said
        return Response(serializers.AgentDetailSerializer(agent, context={"request": request}).data)

    def _register(self, request: Request, name: str, data: dict[str, Any]) -> Response:
        given = {"worker_id": None, **_typed(data), "name": name}
        return self._answer(
            request,
            services.register_agent(
                services.AgentSpec(**given),
                actor=request_actor(request),
                request_id=request_id_of(request),
            ),
        )

    def _answer(self, request: Request, registration: services.Registration) -> Response:
        return Response(
            serializers.AgentDetailSerializer(
                registration.agent, context={"request": request}
            ).data,
            status=status.HTTP_201_CREATED if registration.created else status.HTTP_200_OK,
        )


class EnrolmentTokenViewSet(
    AdminsOnly,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[EnrolmentToken],
):
    """Tokens with which agents register themselves: make one, and start agents with it as
    KVPLANE_ENROLMENT_TOKEN and this address as KVPLANE_CONTROLPLANE_URL."""

    queryset = EnrolmentToken.objects.all()
    lookup_value_regex = "[0-9]{1,18}"
    filterset_class = EnrolmentTokenFilter
    ordering_fields = ["id", "name", "created_at"]
    ordering = ["-id"]
    columns: ClassVar = ["name", "prefix", "created_at", "expires_at", "revoked_at"]

    def get_serializer_class(self) -> type[BaseSerializer[EnrolmentToken]]:
        """By action: what is sent differs from what is shown."""
        if self.action == "create":
            return serializers.NewEnrolmentTokenSerializer
        return serializers.EnrolmentTokenSerializer

    @extend_schema(responses={201: serializers.IssuedEnrolmentTokenSerializer})
    def create(self, request: Request) -> Response:
        """Make a token. It is shown in this answer and never again."""
        data = _validated(self.get_serializer(data=request.data))
        issued = services.create_enrolment_token(
            name=data["name"],
            expires_at=data["expires_at"],
            actor=request_actor(request),
            request_id=request_id_of(request),
        )
        response = Response(
            serializers.IssuedEnrolmentTokenSerializer(issued).data,
            status=status.HTTP_201_CREATED,
        )
        response["Cache-Control"] = "no-store"
        return response

    @extend_schema(operation_id="revoke_enrolment_token")
    def destroy(self, request: Request, pk: str) -> Response:
        """Revoke a token: it is useless from now on, and stays on the list."""
        services.revoke_enrolment_token(
            self.get_object(), actor=request_actor(request), request_id=request_id_of(request)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


class AgentsOwnView(APIView):
    """Something that agents do themselves. An enrolment token opens this door and no
    other, and no other key opens it."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = (EnrolThrottle,)
    throttle_scope = "enrol"

    def form_fields(self, method: str) -> list[Field]:
        """The token that opens this door."""
        return [_ENROLMENT_TOKEN]


class EnrolView(AgentsOwnView):
    """Where agents register themselves. A person registers one at /api/v1/agents/."""

    name: ClassVar[str] = "Enrol"

    @extend_schema(
        operation_id="enrol_agent",
        request=serializers.EnrolSerializer,
        responses={
            200: OpenApiResponse(serializers.AgentDetailSerializer, "It was known already."),
            201: OpenApiResponse(serializers.AgentDetailSerializer, "It is new."),
            **_NAME_TAKEN,
            **usual(429),
        },
        auth=[{"enrolmentToken": []}],  # type: ignore[list-item]  # a requirement object
    )
    def post(self, request: Request) -> Response:
        """Register the calling agent, or note that it started anew."""
        enrolment = services.find_enrolment_token(_shown_enrolment_token(request))
        data = _validated(serializers.EnrolSerializer(data=request.data))
        registration = services.enrol(
            enrolment,
            services.AgentSpec(
                name=data["name"],
                url=data["url"],
                role=Role(data["role"]),
                worker_id=data["worker_id"],
                engine=data["engine"],
                dialect=Dialect(data["dialect"]),
                token=data["agent_token"] or "",
                instance_id=data["instance_id"],
                boot_id=data["boot_id"],
            ),
            caller=request_actor(request),
            request_id=request_id_of(request),
        )
        return Response(
            serializers.AgentDetailSerializer(
                registration.agent, context={"request": request}
            ).data,
            status=status.HTTP_201_CREATED if registration.created else status.HTTP_200_OK,
        )


class DepartureView(AgentsOwnView):
    """Where agents that enrolled say that their process ends."""

    name: ClassVar[str] = "Leave"

    @extend_schema(
        operation_id="report_departure",
        request=serializers.DepartureSerializer,
        responses={
            200: OpenApiResponse(
                serializers.AgentDetailSerializer, "As it is known now; it stays registered."
            ),
            **_NOT_ITS_OWN,
            **usual(404, 429),
        },
        auth=[{"enrolmentToken": []}],  # type: ignore[list-item]  # a requirement object
    )
    def post(self, request: Request) -> Response:
        """Note that the calling agent's process ends."""
        enrolment = services.find_parting_token(_shown_enrolment_token(request))
        data = _validated(serializers.DepartureSerializer(data=request.data))
        agent = services.leave(
            enrolment,
            name=data["name"],
            agent_token=data["agent_token"] or "",
            boot_id=data["boot_id"],
            caller=request_actor(request),
            request_id=request_id_of(request),
        )
        return Response(serializers.AgentDetailSerializer(agent, context={"request": request}).data)


def _shown_enrolment_token(request: Request) -> str:
    scheme, _, plaintext = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("Send the enrolment token as 'Authorization: Bearer kvpe_…'.")
    return str(plaintext).strip()


def _typed(data: dict[str, Any]) -> dict[str, Any]:
    """The fields of an AgentSpec out of what a serializer read."""
    types: dict[str, Callable[[str], str]] = {"role": Role, "dialect": Dialect}
    return {name: types[name](value) if name in types else value for name, value in data.items()}


def _validated(serializer: BaseSerializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    return cast(dict[str, Any], serializer.validated_data)
