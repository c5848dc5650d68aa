"""What can be told the control loop from the admin."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from controlplane.accounts.actors import user_actor
from controlplane.adminsite.confirming import Confirmation
from controlplane.adminsite.forms import ReasonForm
from controlplane.middleware import request_id_of
from controlplane.reconcile.models import Policy, Watch
from controlplane.reconcile.services import set_policy, try_again

_AT_MOST = 500
_POLICIES = [
    (Policy.ENFORCE.value, "enforce: it is put back"),
    (Policy.REPORT.value, "report: it is shown"),
    (Policy.ADOPT.value, "adopt: what is there becomes what should be"),
]


class PolicyForm(ReasonForm):
    """What is done about drift."""

    policy = forms.ChoiceField(required=False, widget=forms.RadioSelect)
    field_order = ("policy", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        policy: Any = self.fields["policy"]
        policy.choices = [("", f"as the setting says: {settings.KVPLANE_DRIFT_POLICY}"), *_POLICIES]


class SetPolicy(Confirmation):
    """What is done when an agent drifts."""

    name = "policy"
    label = "Set drift policy"
    at_most = _AT_MOST
    form_class = PolicyForm

    def explain(self, records: Sequence[Watch]) -> str:
        """What will happen."""
        return "The control loop does this from its next round on when the agent drifts."

    def carry_out(
        self, request: HttpRequest, records: Sequence[Watch], form: PolicyForm
    ) -> HttpResponse:
        """Set it for each."""
        chosen = form.cleaned_data["policy"]
        for watch in records:
            set_policy(
                watch,
                Policy(chosen) if chosen else None,
                actor=user_actor(request),
                request_id=request_id_of(request),
                reason=form.cleaned_data["reason"],
            )
        return _told(request, records, "The drift policy is set")


class TryAgain(Confirmation):
    """The control loop repairs agents again."""

    name = "retry"
    label = "Retry repairs"
    at_most = _AT_MOST

    def fits(self, record: Watch) -> bool:
        """Only what drifts."""
        return record.drift_since is not None or record.gave_up_at is not None

    def explain(self, records: Sequence[Watch]) -> str:
        """What will happen."""
        return (
            "The control loop repairs it from its next round on, whether it waits or has given up."
        )

    def carry_out(
        self, request: HttpRequest, records: Sequence[Watch], form: ReasonForm
    ) -> HttpResponse:
        """Tell the loop, for each."""
        for watch in records:
            try_again(
                watch,
                actor=user_actor(request),
                request_id=request_id_of(request),
                reason=form.cleaned_data["reason"],
            )
        return _told(request, records, "The control loop tries again")


ON_WATCHES: tuple[Confirmation, ...] = (SetPolicy(), TryAgain())


def condition_of(watch: Watch) -> str:
    """Whether the agent is as it should be, in a word or two."""
    if watch.gave_up_at is not None:
        return "gave up"
    if watch.drift_since is not None:
        return "drifts"
    return "ok" if watch.polled_at is not None else "unknown"


def _told(request: HttpRequest, records: Sequence[Watch], what: str) -> HttpResponse:
    if len(records) == 1:
        messages.success(request, f"{what} for {records[0]}.")
        return HttpResponseRedirect(reverse("admin:reconcile_watch_change", args=[records[0].pk]))
    messages.success(request, f"{what} for {len(records)} agents.")
    return HttpResponseRedirect(reverse("admin:reconcile_watch_changelist"))
