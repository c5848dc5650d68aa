"""Doing something with records only after a page that says what will happen to which of
them and asks why."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode

from controlplane.accounts.models import UserRole
from controlplane.adminsite.forms import ReasonForm
from controlplane.adminsite.pages import PageAdmin, Tool
from controlplane.operations.selecting import MAX_TARGETS
from controlplane.rest.admin import has_role
from engine.contract import ContractError

SHOWN = 50
"""Records that a page names."""
_GONE = "Something that was selected is gone meanwhile. Nothing was done yet: look again."


class Confirmation(ABC):
    """Something that is done with records after asking back. `name` is part of the URL
    and of the form of the list."""

    name: str
    label: str
    at_most: ClassVar[int] = MAX_TARGETS
    form_class: ClassVar[type[forms.Form]] = ReasonForm
    template: ClassVar[str] = "admin/kvplane/confirm.html"

    def fits(self, record: Any) -> bool:
        """Whether the record's page has a button for it."""
        return True

    @abstractmethod
    def explain(self, records: Sequence[Any]) -> str:
        """What will happen, in a sentence."""

    def context(self, request: HttpRequest, records: Sequence[Any]) -> dict[str, object]:
        """What else the page shows."""
        return {}

    def form(self, records: Sequence[Any], data: Any = None) -> forms.Form:
        """What is asked."""
        return self.form_class(data)

    @abstractmethod
    def carry_out(self, request: HttpRequest, records: Sequence[Any], form: Any) -> HttpResponse:
        """Do it, and answer. Raises ContractError if it cannot be done."""


class ConfirmingAdmin(PageAdmin):
    """Has actions on the list and buttons on the pages that ask back first."""

    act_role: ClassVar[UserRole] = UserRole.OPERATOR
    confirmations: ClassVar[Sequence[Confirmation]] = ()

    def may_act(self, request: HttpRequest) -> bool:
        """Whether the user may do any of it."""
        return has_role(request, self.act_role)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """The actions of the list."""
        actions: dict[str, Any] = super().get_actions(request)
        if self.may_act(request):
            for confirmation in self.confirmations:
                act = partial(_ask_for_selected, confirmation)
                actions[confirmation.name] = (act, confirmation.name, confirmation.label)
        return actions

    def get_urls(self) -> list[URLPattern]:
        """The page that asks back comes first: the others take any path."""
        asking = path(
            "confirm/<str:name>/",
            self.admin_site.admin_view(self.confirm_view),
            name=f"{_model(self)}_confirm",
        )
        return [asking, *super().get_urls()]

    def tools(self, request: HttpRequest, record: Any) -> list[Tool]:
        """A button for each thing that can be done with this record."""
        if not self.may_act(request):
            return []
        query = urlencode({"key": record.pk})
        return [
            Tool(one.label, f"{self._url(one)}?{query}", one.name)
            for one in self.confirmations
            if one.fits(record)
        ]

    def confirm_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Ask back, and do it once the form is sent."""
        self.follow_read(request)
        if not self.may_act(request):
            raise PermissionDenied
        confirmation = next((one for one in self.confirmations if one.name == name), None)
        if confirmation is None:
            raise Http404
        keys = request.POST.get("keys", "").split() or request.GET.getlist("key")
        records = self._records(request, keys)
        if request.method != "POST":
            return self.ask(request, confirmation, records)
        form = confirmation.form(records, request.POST)
        if len(records) < len(set(keys)):
            self.message_user(request, _GONE, messages.WARNING)
            return self.ask(request, confirmation, records, form)
        if not records or len(records) > confirmation.at_most or not form.is_valid():
            return self.ask(request, confirmation, records, form)
        try:
            return confirmation.carry_out(request, records, form)
        except ContractError as error:
            form.add_error(None, error.message)
            return self.ask(request, confirmation, records, form, error.status)

    def ask(
        self,
        request: HttpRequest,
        confirmation: Confirmation,
        records: Sequence[Any],
        form: forms.Form | None = None,
        status: int = 200,
    ) -> HttpResponse:
        """The page that asks back; the list if there is nothing to be asked about."""
        count = len(records)
        if not records or count > confirmation.at_most:
            self.message_user(request, _wrong_number(confirmation, count), messages.ERROR)
            return HttpResponseRedirect(reverse(f"admin:{_model(self)}_changelist"))
        named = confirmation.label if count > 1 else f"{confirmation.label}: {records[0]}"
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": named,
            "confirmation": confirmation,
            "explanation": confirmation.explain(records),
            "records": records[:SHOWN],
            "count": count,
            "more": max(0, count - SHOWN),
            "keys": "\n".join(str(record.pk) for record in records),
            "action_url": self._url(confirmation),
            "back_url": self._back(records),
            "form": confirmation.form(records) if form is None else form,
            **confirmation.context(request, records),
        }
        return TemplateResponse(request, confirmation.template, context, status=status)

    def _records(self, request: HttpRequest, keys: Sequence[str]) -> list[Model]:
        if len(keys) > MAX_TARGETS:
            return []
        try:
            found = list(self.get_queryset(request).filter(pk__in=keys))
        except (ValueError, OverflowError, ValidationError):
            return []
        return found

    def _url(self, confirmation: Confirmation) -> str:
        return reverse(f"admin:{_model(self)}_confirm", args=[confirmation.name])

    def _back(self, records: Sequence[Any]) -> str:
        if len(records) == 1:
            return reverse(f"admin:{_model(self)}_change", args=[records[0].pk])
        return reverse(f"admin:{_model(self)}_changelist")


def _ask_for_selected(
    confirmation: Confirmation,
    page: ConfirmingAdmin,
    request: HttpRequest,
    queryset: QuerySet[Any],
) -> HttpResponse:
    # One more than can be taken, to notice.
    return page.ask(request, confirmation, list(queryset[: confirmation.at_most + 1]))


def _wrong_number(confirmation: Confirmation, count: int) -> str:
    if count == 0:
        return f"{confirmation.label}: select what it is for; what was selected is not there."
    if confirmation.at_most == 1:
        return f"{confirmation.label}: select one, not several."
    return f"{confirmation.label}: select at most {confirmation.at_most}."


def _model(page: PageAdmin) -> str:
    return f"{page.opts.app_label}_{page.opts.model_name}"
