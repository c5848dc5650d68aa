"""What a person says when something is done to agents."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone

from controlplane.accounts.models import one_line
from controlplane.audit.limits import MAX_REASON
from controlplane.dashboard.actions import Action
from controlplane.operations.effects import Wishes
from controlplane.operations.planning import Plan
from controlplane.operations.selecting import Selector

_MAX_MINUTES = 365 * 24 * 60


class ReasonForm(forms.Form):
    """Why; and a key, so that a form that is sent twice is one operation."""

    reason = forms.CharField(
        max_length=MAX_REASON,
        validators=[one_line],
        error_messages={"required": "Say why: it is kept in the audit log with the change."},
    )
    key = forms.RegexField(r"^[0-9a-f]{32}$", widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"initial": {"key": uuid.uuid4().hex}, **kwargs})


class ActionForm(ReasonForm):
    """Why; until when, for what can end by itself; and of which backend."""

    minutes = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=_MAX_MINUTES,
        label="Ends after (minutes)",
    )
    backend = forms.CharField(
        max_length=64,
        strip=True,
        error_messages={"required": "Choose the backend."},
    )

    def __init__(self, action: Action, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.action = action
        if not action.backend_parameter:
            del self.fields["backend"]
        elif action.all_backends:
            self.fields["backend"].required = False
        if not action.can_end:
            del self.fields["minutes"]

    def to_plan(self, agents: Sequence[str]) -> Plan:
        """What the operation is to do, to the agents of those names. The form must be
        valid."""
        data = self.cleaned_data
        minutes: int | None = data.get("minutes")
        backend: str = data.get("backend", "")
        seconds = None if minutes is None else 60 * minutes
        return Plan(
            endpoint=self.action.endpoint,
            selector=Selector(agents=tuple(agents)),
            parameters={self.action.backend_parameter: backend} if backend else {},
            wishes=Wishes(
                expires_at=None if seconds is None else timezone.now() + timedelta(seconds=seconds)
            ),
            expiry="" if seconds is None else str(seconds),
            timeout_s=settings.KVPLANE_AGENT_TIMEOUT,
            reason=data["reason"],
        )
