"""Engines, agents and enrolment tokens as JSON. Tokens go in, never out."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from controlplane.accounts.serializers import in_the_future
from controlplane.fleet import examples
from controlplane.fleet.models import ROLE_CHOICES, Agent, Dialect, Engine, EnrolmentToken
from controlplane.fleet.services import MAX_WORKER_ID, IssuedEnrolmentToken
from controlplane.fleet.suggesting import engine_names
from controlplane.fleet.validation import validate_labels, validate_name
from controlplane.rest.components import LABELS, LINKS
from controlplane.rest.examples import sent, shown
from controlplane.rest.links import agent_links
from engine.contract import schemas
from engine.contract.components import referred

_NAME = "Letters, digits, and . _ - after the first; at most 128."
_SAID: dict[str, Any] = {
    "anyOf": [referred(schemas.AGENT_STATUS), {"type": "object", "additionalProperties": True}],
    "description": "Its `/agent/status`; what else is known of an LMCache process; empty if it "
    "was never heard.",
}


@extend_schema_field(referred(LABELS))
class LabelsField(serializers.DictField):
    """A flat object of short strings."""

    child = serializers.CharField(max_length=128, allow_blank=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validators=[validate_labels], **kwargs)


@shown(examples.ENGINE)
class EngineSerializer(serializers.ModelSerializer[Engine]):
    """An engine and the names of its agents."""

    labels = LabelsField(read_only=True)
    agents: serializers.SlugRelatedField[Agent] = serializers.SlugRelatedField(
        many=True, read_only=True, slug_field="name"
    )

    class Meta:
        model = Engine
        fields = ["name", "labels", "created_at", "agents"]
        read_only_fields = fields


@sent("An engine", examples.NEW_ENGINE)
class EngineWriteSerializer(serializers.Serializer[Engine]):
    """What is needed to make an engine or to replace what is known of it."""

    name = serializers.CharField(
        max_length=128,
        validators=[validate_name],
        help_text=_NAME,
        style={"placeholder": "smollm2"},
    )
    labels = LabelsField(
        required=False,
        help_text="For selectors of operations; its agents have them, too.",
        style={"placeholder": '{"model": "smollm2"}'},
    )


@shown(examples.AGENT)
class AgentSerializer(serializers.ModelSerializer[Agent]):
    """An agent; whether it has a token, not which."""

    engine = serializers.CharField(source="engine.name", read_only=True)
    has_token = serializers.SerializerMethodField()
    labels = LabelsField(read_only=True)

    class Meta:
        model = Agent
        fields = [
            "name",
            "engine",
            "role",
            "worker_id",
            "url",
            "dialect",
            "has_token",
            "labels",
            "instance_id",
            "boot_id",
            "registered_at",
            "last_seen_at",
            "health",
            "health_since",
            "left_at",
        ]
        read_only_fields = fields

    def get_has_token(self, agent: Agent) -> bool:
        """Whether calls to the agent carry a token."""
        return bool(agent.encrypted_token)


@extend_schema_field(_SAID)
class _SaidField(serializers.JSONField):
    pass


@shown(examples.AGENT_DETAIL)
class AgentDetailSerializer(AgentSerializer):
    """An agent with what it last said about itself."""

    last_status = _SaidField(read_only=True)
    links = serializers.SerializerMethodField(
        help_text="URLs of its revisions, modes, mode_changes, operations, chunk_statistics, "
        "tier_statistics, watch and audit entries, and of its status."
    )

    class Meta(AgentSerializer.Meta):
        fields = [*AgentSerializer.Meta.fields, "last_status", "links"]
        read_only_fields = fields

    @extend_schema_field(referred(LINKS))
    def get_links(self, agent: Agent) -> dict[str, str]:
        """URLs of what is kept about the agent, by name."""
        return agent_links(agent.name, self.context.get("request"))


@sent("A worker", examples.AGENT_CHANGES)
class AgentChangesSerializer(serializers.Serializer[Agent]):
    """What is needed to register an agent, but for its name."""

    engine = serializers.CharField(
        max_length=128,
        validators=[validate_name],
        help_text="The name of its engine, which is made if there is none of that name.",
        style={"placeholder": "smollm2", "suggestions": engine_names},
    )
    role = serializers.ChoiceField(
        choices=ROLE_CHOICES,
        help_text="What its process does: a scheduler answers lookups, a worker has the cache.",
    )
    worker_id = serializers.IntegerField(
        min_value=0,
        max_value=MAX_WORKER_ID,
        required=False,
        allow_null=True,
        help_text="0 for the first worker; null for a scheduler.",
        style={"placeholder": "0"},
    )
    url = serializers.CharField(
        max_length=255,
        help_text="Such as http://10.0.0.7:7000.",
        style={"placeholder": "http://10.0.0.7:7000"},
    )
    dialect = serializers.ChoiceField(
        choices=Dialect.choices,
        required=False,
        help_text="Which program answers there; left out: kvplane.",
    )
    token = serializers.CharField(
        max_length=512,
        required=False,
        allow_blank=True,
        write_only=True,
        help_text='The agent\'s bearer token; left out: as it is, "": none.',
        style={"input_type": "password"},
    )
    labels = LabelsField(
        required=False,
        help_text="For selectors of operations.",
        style={"placeholder": '{"zone": "a"}'},
    )
    instance_id = serializers.CharField(
        max_length=255,
        required=False,
        allow_blank=True,
        help_text="What the agent calls itself in its metadata; may be left out.",
    )


@sent("A worker", examples.NEW_AGENT)
class AgentWriteSerializer(AgentChangesSerializer):
    """What is needed to register an agent."""

    name = serializers.CharField(
        max_length=128,
        validators=[validate_name],
        help_text=_NAME,
        style={"placeholder": "smollm2-worker-0"},
    )


@sent("A worker", examples.ENROLMENT)
class EnrolSerializer(serializers.Serializer[Agent]):
    """What an agent says about itself when it registers itself."""

    name = serializers.CharField(max_length=128, validators=[validate_name], help_text=_NAME)
    url = serializers.CharField(
        max_length=255, help_text="Where it answers, such as http://10.0.0.7:7000."
    )
    role = serializers.ChoiceField(choices=ROLE_CHOICES, help_text="What its process does.")
    worker_id = serializers.IntegerField(
        min_value=0,
        max_value=MAX_WORKER_ID,
        required=False,
        allow_null=True,
        default=None,
        help_text="0 for the first worker; null for a scheduler.",
    )
    engine = serializers.CharField(
        max_length=128, validators=[validate_name], help_text="The name of its engine."
    )
    instance_id = serializers.CharField(
        max_length=255, allow_blank=True, default="", help_text="What it calls itself."
    )
    agent_token = serializers.CharField(
        max_length=512,
        allow_blank=True,
        allow_null=True,
        default=None,
        write_only=True,
        help_text="The token that calls to it must carry.",
        style={"input_type": "password"},
    )
    dialect = serializers.ChoiceField(
        choices=Dialect.choices, default=Dialect.KVPLANE, help_text="Which program it is."
    )
    boot_id = serializers.CharField(
        max_length=64, allow_blank=True, default="", help_text="Another one with each start."
    )


@sent("A worker", examples.DEPARTURE)
class DepartureSerializer(serializers.Serializer[Agent]):
    """What an agent says when its process ends."""

    name = serializers.CharField(max_length=128, validators=[validate_name], help_text=_NAME)
    agent_token = serializers.CharField(
        max_length=512,
        allow_blank=True,
        allow_null=True,
        default=None,
        write_only=True,
        help_text="The token that calls to it must carry.",
        style={"input_type": "password"},
    )
    boot_id = serializers.CharField(max_length=64, help_text="Of the start that ends.")


@shown(examples.ENROLMENT_TOKEN)
class EnrolmentTokenSerializer(serializers.ModelSerializer[EnrolmentToken]):
    """An enrolment token without the token."""

    class Meta:
        model = EnrolmentToken
        fields = ["id", "name", "prefix", "created_at", "expires_at", "revoked_at"]
        read_only_fields = fields


@sent("A token that does not expire", examples.NEW_ENROLMENT_TOKEN)
class NewEnrolmentTokenSerializer(serializers.Serializer[EnrolmentToken]):
    """What is needed to make an enrolment token."""

    name = serializers.CharField(
        max_length=128, help_text="What the token is for.", style={"placeholder": "rack 7"}
    )
    expires_at = serializers.DateTimeField(
        required=False,
        allow_null=True,
        default=None,
        validators=[in_the_future],
        help_text="When it ends to be good; left out: never.",
    )


@shown(examples.ISSUED_ENROLMENT_TOKEN)
class IssuedEnrolmentTokenSerializer(serializers.Serializer[IssuedEnrolmentToken]):
    """An enrolment token just made, with the token: shown this once."""

    token = serializers.CharField(source="plaintext", read_only=True)
    details = EnrolmentTokenSerializer(source="token", read_only=True)
