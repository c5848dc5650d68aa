"""A form for each endpoint of the catalogue."""

import json
from collections.abc import Callable
from typing import Any, ClassVar, cast
from urllib.parse import urlencode

from django import forms

from controlplane.adminsite.forms import KEY, EndingForm, key_field, new_key, reason_field
from controlplane.operations.effects import CONF_UPDATE, Wishes
from controlplane.operations.once import Once, fingerprint
from controlplane.rest.parsers import has_nul
from engine import contract
from engine.contract import ContractError, Endpoint, Group, Kind, Parameter, Values

BODY = "body"
REASON = "reason"
EXPECTED = "expected_revision"
_ENDING = ("ends", "ends_at")
_MODES = (Group.FREEZE, Group.HOT_CACHE, Group.BYPASS)


class CallForm(forms.Form):
    """The parameters of one endpoint and, for a change, why. Made by form_class()."""

    endpoint: ClassVar[Endpoint]

    def __init__(self, data: Any = None) -> None:
        # Many of them stand on one page.
        auto_id = f"{self.endpoint.operation_id}-%s"
        super().__init__(data, auto_id=auto_id, initial={KEY: new_key()})

    def anew(self) -> "CallForm":
        """The same as it was sent, to be sent again as another request."""
        return type(self)({**dict(self.data.items()), KEY: new_key()})

    def clean(self) -> dict[str, Any]:
        """The fields. Raises ValidationError, at the field, for what the endpoint cannot
        read, and for a change without a reason."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        for parameter in self.endpoint.parameters:
            if parameter.name in data:
                self._check(parameter)
        if not self.errors and self.changes() and not data.get(REASON):
            self.add_error(REASON, self.fields[REASON].error_messages["required"])
        return data

    def clean_body(self) -> str:
        """The body as it was typed. Raises ValidationError for what is no JSON object."""
        typed: str = self.cleaned_data[BODY]
        try:
            document = contract.parse_json_object(typed.encode())
        except ContractError as error:
            raise forms.ValidationError(error.message) from None
        if has_nul(document):
            raise forms.ValidationError("A string has a NUL character (\\u0000); leave it out.")
        return typed

    def query(self) -> str:
        """The query string."""
        return urlencode(self._given(), doseq=True)

    def values(self) -> Values:
        """The parameters as the endpoint reads them."""
        return contract.read_parameters(self.endpoint, self._given())

    def changes(self) -> bool:
        """Whether the call changes anything."""
        return self.endpoint.changes(self.values())

    def body(self) -> bytes | None:
        """The body to send; None for an endpoint that takes none."""
        return self.cleaned_data[BODY].encode() if BODY in self.fields else None

    def why(self) -> str:
        """Why; "" for a call that only reads."""
        return str(self.cleaned_data.get(REASON, ""))

    def once(self, agent: str) -> Once:
        """What tells this change of that agent from another one."""
        asked = {name: self.data.get(name, "") for name in self.fields if name != KEY}
        return Once(self.cleaned_data[KEY], fingerprint(self.endpoint.operation_id, agent, asked))

    def wishes(self) -> Wishes:
        """What is wished beyond the call."""
        return Wishes(expected_revision=self.cleaned_data.get(EXPECTED))

    def _given(self) -> dict[str, list[str]]:
        given = {
            parameter.name: _texts(parameter, self.cleaned_data.get(parameter.name))
            for parameter in self.endpoint.parameters
        }
        return {name: texts for name, texts in given.items() if texts}

    def _check(self, parameter: Parameter) -> None:
        texts = _texts(parameter, self.cleaned_data[parameter.name])
        alone = {parameter.name: texts} if texts else {}
        others = [one for one in self.endpoint.parameters if one is not parameter]
        try:
            contract.read_parameters(self.endpoint, {**_valid(others), **alone})
        except ContractError as error:
            self.add_error(parameter.name, error.message)


class ModeCallForm(CallForm, EndingForm):
    """One that may also end by itself."""

    def wishes(self) -> Wishes:
        """When it ends."""
        return Wishes(expires_at=self.expires_at())


def form_class(endpoint: Endpoint) -> type[CallForm]:
    """The form of that endpoint."""
    fields: dict[str, Any] = {
        parameter.name: _field(parameter) for parameter in endpoint.parameters
    }
    base: type[CallForm] = CallForm
    order = list(fields)
    if endpoint.body_schema is not None:
        fields[BODY] = _body_field(endpoint)
        order.append(BODY)
    if endpoint.action is not None:
        may_read = endpoint.reads_with or endpoint.reads_without
        fields[REASON] = reason_field(required=not may_read)
        fields[KEY] = key_field()
    if endpoint.action == CONF_UPDATE:
        fields[EXPECTED] = forms.IntegerField(
            required=False,
            min_value=0,
            max_value=(1 << 31) - 1,
            help_text="The revision that the change builds on; refused if another one is active.",
        )
    if endpoint.action is not None and endpoint.group in _MODES:
        base = ModeCallForm
    order += [REASON, EXPECTED, *_ENDING]
    members = {**fields, "endpoint": endpoint, "field_order": order}
    return cast(type[CallForm], type(f"{endpoint.operation_id}_form", (base,), members))


def _field(parameter: Parameter) -> forms.Field:
    common: dict[str, Any] = {
        "label": parameter.name,
        "help_text": f"{parameter.description} For example: {parameter.example}",
        "required": parameter.required,
    }
    return _FIELDS.get(parameter.kind, _text)(parameter, common)


def _text(parameter: Parameter, common: dict[str, Any]) -> forms.Field:
    attrs = {"class": "vTextField", "placeholder": parameter.example, "autocomplete": "off"}
    return forms.CharField(widget=forms.TextInput(attrs=attrs), **common)


def _lines(parameter: Parameter, common: dict[str, Any]) -> forms.Field:
    attrs = {"rows": 2, "placeholder": parameter.example}
    common["help_text"] += "; one a line"
    return forms.CharField(widget=forms.Textarea(attrs=attrs), **common)


def _integer(parameter: Parameter, common: dict[str, Any]) -> forms.Field:
    return forms.IntegerField(min_value=parameter.minimum, max_value=parameter.maximum, **common)


def _boolean(parameter: Parameter, common: dict[str, Any]) -> forms.Field:
    left_out = "left out" if parameter.default is None else f"{parameter.default} (default)"
    choices = [("true", "true"), ("false", "false")]
    if not parameter.required:
        choices.insert(0, ("", left_out))
    return forms.ChoiceField(choices=choices, **common)


_FIELDS: dict[Kind, Callable[[Parameter, dict[str, Any]], forms.Field]] = {
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _boolean,
    Kind.SWITCH: _boolean,
    Kind.STRINGS: _lines,
}


def _body_field(endpoint: Endpoint) -> forms.Field:
    return forms.CharField(
        label="Body (JSON)",
        strip=False,
        initial=json.dumps(endpoint.body_example, indent=2),
        widget=forms.Textarea(attrs={"rows": 6, "class": "kvp-body", "spellcheck": "false"}),
        help_text="One JSON object, sent as it stands here.",
    )


def _texts(parameter: Parameter, value: object) -> list[str]:
    """The value as it stands in a query string, as often as it does; [] for none."""
    if value in (None, ""):
        return []
    if parameter.kind is Kind.STRINGS:
        return [line.strip() for line in str(value).splitlines() if line.strip()]
    return [str(value)]


def _valid(parameters: list[Parameter]) -> dict[str, list[str]]:
    """Values of other parameters that are surely good."""
    return {parameter.name: [parameter.example] for parameter in parameters}


FORMS: dict[str, type[CallForm]] = {
    entry.operation_id: form_class(entry) for entry in contract.CATALOGUE
}
