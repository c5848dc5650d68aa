"""What can be done with agents from the admin: modes, through `operations`; and asking."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse

from controlplane.accounts.actors import user_actor
from controlplane.adminsite.confirming import SHOWN, Confirmation
from controlplane.adminsite.forms import EndingForm, KeyedForm
from controlplane.adminsite.outcomes import WAIT_SECONDS, tell
from controlplane.adminsite.probing import Probe
from controlplane.adminsite.switched import attach_modes
from controlplane.fleet.models import Agent
from controlplane.middleware import request_id_of
from controlplane.operations.effects import Wishes
from controlplane.operations.following import follow_call
from controlplane.operations.once import Once, SentBefore
from controlplane.operations.planning import Plan, plan_operation
from controlplane.operations.selecting import Selector
from controlplane.operations.services import perform
from controlplane.operations.waiting import start_and_wait
from engine import contract
from engine.contract import Role

BACKENDS = ("LocalCPUBackend", "LocalDiskBackend", "RemoteBackend")


class BackendField(forms.CharField):
    """The name of a backend, with those that are known to choose from."""

    def __init__(self, suggestions: Sequence[str]) -> None:
        self.suggestions = tuple(suggestions)
        super().__init__(
            max_length=64,
            label="Backend",
            widget=forms.TextInput(attrs={"list": "kvp-backends", "class": "vTextField"}),
            help_text=f"Such as {', '.join(BACKENDS)}.",
            error_messages={"required": "Name the backend."},
        )


class SwitchForm(KeyedForm, EndingForm):
    """Why, and until when."""


class SwitchMode(Confirmation):
    """A mode is switched on or off."""

    form_class = SwitchForm

    def __init__(self, name: str, label: str, operation_id: str, what_happens: str) -> None:
        self.name, self.label = name, label
        self.endpoint = contract.endpoint(operation_id)
        self.what_happens = what_happens

    def explain(self, records: Sequence[Agent]) -> str:
        """What will happen."""
        return self.what_happens

    def context(self, request: HttpRequest, records: Sequence[Agent]) -> dict[str, object]:
        """Who is called, how each is now, and who lacks what it takes."""
        shown = list(records[:SHOWN])
        attach_modes(shown)
        needed = self.endpoint.component.default_roles
        unfit = [agent.name for agent in records if Role(agent.role) not in needed]
        gone = [agent.name for agent in records if agent.left_at is not None]
        return {"agents": shown, "unfit": unfit[:SHOWN], "gone": gone[:SHOWN], **self.suggested()}

    def suggested(self) -> dict[str, object]:
        """What the form offers."""
        return {}

    def parameters(self, form: Any) -> dict[str, str]:
        """Parameters of the call."""
        return {}

    def carry_out(
        self, request: HttpRequest, records: Sequence[Agent], form: SwitchForm
    ) -> HttpResponse:
        """Perform it on one agent, plan it for several, and tell what came of it."""
        plan = Plan(
            endpoint=self.endpoint,
            selector=Selector(agents=tuple(agent.name for agent in records)),
            parameters=self.parameters(form),
            wishes=Wishes(expires_at=form.expires_at()),
            expiry=form.expiry(),
            timeout_s=settings.KVPLANE_AGENT_TIMEOUT,
            reason=form.cleaned_data["reason"],
        )
        if len(records) == 1:
            return _perform(request, records[0], plan, form.cleaned_data["key"])
        planned = plan_operation(
            plan,
            key=form.cleaned_data["key"],
            actor=user_actor(request),
            request_id=request_id_of(request),
        )
        return tell(request, start_and_wait(planned.operation, WAIT_SECONDS))


class BypassBackend(SwitchMode):
    """A backend is bypassed, or is not any more."""

    def form(self, records: Sequence[Agent], data: Any = None) -> forms.Form:
        """Also asks which backend."""
        form = SwitchForm(data)
        form.fields = {"backend": BackendField(BACKENDS), **form.fields}
        return form

    def suggested(self) -> dict[str, object]:
        """Backends to choose from."""
        return {"backends": BACKENDS}

    def parameters(self, form: Any) -> dict[str, str]:
        """The backend."""
        return {"backend_name": form.cleaned_data["backend"]}


SWITCHES: tuple[SwitchMode, ...] = (
    SwitchMode(
        "freeze",
        "Freeze",
        "enable_freeze",
        "Each stores nothing in any tier and evicts nothing, and reads from memory only, until "
        "it is unfrozen.",
    ),
    SwitchMode(
        "unfreeze", "Unfreeze", "disable_freeze", "Each stores and evicts again as it did before."
    ),
    BypassBackend(
        "bypass",
        "Bypass a backend",
        "add_bypass",
        "Each neither reads nor writes the backend until the bypass ends. What the backend holds "
        "stays.",
    ),
    BypassBackend(
        "end_bypass", "End a bypass", "remove_bypass", "Each reads and writes the backend again."
    ),
    SwitchMode(
        "hot_cache_on",
        "Hot cache on",
        "enable_hot_cache",
        "Each keeps chunks in memory again, beginning with an empty hot cache.",
    ),
    SwitchMode(
        "hot_cache_off",
        "Hot cache off",
        "disable_hot_cache",
        "Each empties its hot cache and keeps no chunk in memory; other tiers are used as before.",
    ),
)
ON_AGENTS: tuple[Confirmation, ...] = (*SWITCHES, Probe())


def _perform(request: HttpRequest, agent: Agent, plan: Plan, key: str) -> HttpResponse:
    call = plan.call()
    follow_call(agent, plan.endpoint, call.values)
    try:
        performed = perform(
            plan.endpoint,
            [agent],
            query=call.query,
            body=None,
            actor=user_actor(request),
            reason=plan.reason,
            request_id=request_id_of(request),
            timeout=plan.timeout_s,
            wishes=plan.wishes,
            once=Once(key, plan.fingerprint()),
        )
    except SentBefore as sent:
        return tell(request, sent.operation)
    return tell(request, performed.operation)
