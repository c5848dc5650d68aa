"""The forms behind the admin pages of the fleet."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError

from controlplane.fleet.models import Agent, Dialect, Engine
from controlplane.fleet.services import AgentSpec, validate_spec
from controlplane.fleet.validation import validate_labels, validate_name
from engine.contract import Role

# Generic for the type checker only: at run time django's class takes no argument.
if TYPE_CHECKING:
    _EngineForm = forms.ModelForm[Engine]
    _AgentForm = forms.ModelForm[Agent]
else:
    _EngineForm = forms.ModelForm
    _AgentForm = forms.ModelForm


class EngineForm(_EngineForm):
    """An engine."""

    class Meta:
        model = Engine
        fields = ("name", "labels")

    def clean_name(self) -> str:
        """The name. Raises ValidationError."""
        name: str = self.cleaned_data["name"]
        validate_name(name)
        return name

    def clean_labels(self) -> dict[str, str]:
        """The labels. Raises ValidationError."""
        labels = self.cleaned_data["labels"] or {}
        validate_labels(labels)
        return dict(labels)


class AgentForm(_AgentForm):
    """An agent; the token is set here and never shown."""

    new_token = forms.CharField(
        required=False,
        max_length=512,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text="The agent's bearer token. Leave empty to keep the present one.",
    )

    class Meta:
        model = Agent
        fields = ("name", "engine", "role", "worker_id", "url", "dialect", "labels", "instance_id")

    def clean(self) -> dict[str, Any]:
        """The fields. Raises ValidationError, naming each field that is wrong."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                data["spec"] = validate_spec(self._spec(data))
            except ValidationError as error:
                for name, why in error.message_dict.items():
                    self.add_error(name if name in self.fields else None, why)
        return data

    def _spec(self, data: dict[str, Any]) -> AgentSpec:
        return AgentSpec(
            name=data.get("name", self.instance.name),
            url=data["url"],
            role=Role(data["role"]),
            worker_id=data["worker_id"],
            engine=data["engine"].name,
            dialect=Dialect(data["dialect"]),
            token=data["new_token"] or None,
            labels=data["labels"] or {},
            instance_id=data["instance_id"],
            boot_id=self.instance.boot_id,
        )
