"""Rolling an agent's configuration back from the admin."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from controlplane.accounts.actors import user_actor
from controlplane.adminsite import show
from controlplane.adminsite.confirming import Confirmation
from controlplane.adminsite.forms import ReasonForm
from controlplane.adminsite.outcomes import tell
from controlplane.configuration.models import ConfigRevision, RevisionState
from controlplane.fleet.services import find_agent
from controlplane.middleware import request_id_of
from controlplane.operations.rolling_back import preview_rollback, roll_back
from engine.contract import ContractError


class RollbackForm(ReasonForm):
    """Why, and which revision was active when the page was shown."""

    expected = forms.IntegerField(
        min_value=0,
        widget=forms.HiddenInput,
        error_messages={
            "required": "Roll back from the page that shows what would change; look at it again."
        },
    )


class RollBackRevision(Confirmation):
    """An agent gets the values of an earlier revision."""

    name = "roll_back"
    label = "Roll back to this revision"
    at_most = 1
    form_class = RollbackForm
    template = "admin/kvplane/confirm_rollback.html"

    def fits(self, record: ConfigRevision) -> bool:
        """Only what was once active."""
        return record.state == RevisionState.SUPERSEDED

    def explain(self, records: Sequence[ConfigRevision]) -> str:
        """What will happen."""
        (revision,) = records
        return (
            f"Agent {revision.agent} gets the values of its revision {revision.number} again, as "
            "a new revision."
        )

    def context(self, request: HttpRequest, records: Sequence[ConfigRevision]) -> dict[str, object]:
        """What would change, by what the agent itself says now."""
        (revision,) = records
        try:
            preview = preview_rollback(
                find_agent(revision.agent),
                revision.number,
                request_id=request_id_of(request),
                timeout=settings.KVPLANE_AGENT_TIMEOUT,
            )
        except ContractError as error:
            return {"unknown": error.message}
        return {
            "active": preview.active.number,
            "changes": show.difference(preview.changes) if preview.changes else "",
            "left": show.difference(preview.left) if preview.left else "",
            "problems": preview.problems,
        }

    def carry_out(
        self, request: HttpRequest, records: Sequence[ConfigRevision], form: Any
    ) -> HttpResponse:
        """Roll back, unless another revision became active since the page was shown."""
        (revision,) = records
        performed = roll_back(
            find_agent(revision.agent),
            revision.number,
            expected=form.cleaned_data["expected"],
            actor=user_actor(request),
            reason=form.cleaned_data["reason"],
            request_id=request_id_of(request),
            timeout=settings.KVPLANE_AGENT_TIMEOUT,
        )
        return tell(request, performed.operation)
