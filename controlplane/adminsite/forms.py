"""What is asked before something is done."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from controlplane.accounts.models import one_line
from controlplane.audit.limits import MAX_REASON

_ENDS = [
    ("", "Not by itself"),
    ("900", "After 15 minutes"),
    ("3600", "After 1 hour"),
    ("14400", "After 4 hours"),
    ("86400", "After 1 day"),
    ("604800", "After 7 days"),
]
_LONGEST = timedelta(days=366)
KEY = "key"
_INCOMPLETE = "The form was incomplete; begin again from the page before."
REASON_HELP = "Kept in the audit log with the change."


def reason_field(*, required: bool = True) -> forms.CharField:
    """The field for the reason: one line."""
    return forms.CharField(
        required=required,
        max_length=MAX_REASON,
        validators=[one_line],
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text=REASON_HELP,
        error_messages={"required": "Say why: the reason is kept in the audit log."},
    )


def key_field() -> forms.RegexField:
    """The field for what tells a form from the same form, filled in again."""
    return forms.RegexField(
        r"^[0-9a-f]{32}$",
        widget=forms.HiddenInput,
        error_messages={"required": _INCOMPLETE, "invalid": _INCOMPLETE},
    )


def new_key() -> str:
    """A key that no form had before."""
    return uuid.uuid4().hex


class ReasonForm(forms.Form):
    """Why it is done."""

    reason = reason_field()


class KeyedForm(forms.Form):
    """Has a key, so that a form that is sent twice is one operation."""

    key = key_field()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"initial": {KEY: new_key()}, **kwargs})


class EndingForm(ReasonForm):
    """Why, and until when."""

    ends = forms.ChoiceField(
        required=False, choices=_ENDS, label="Ends", help_text="The control plane then reverts it."
    )
    ends_at = forms.DateTimeField(
        required=False,
        label="Ends at (UTC)",
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Instead of a time from now.",
    )

    def clean_ends_at(self) -> datetime | None:
        """The moment. Raises ValidationError for one that is over, or far away."""
        moment: datetime | None = self.cleaned_data["ends_at"]
        if moment is None:
            return None
        moment = moment.replace(tzinfo=UTC)
        if moment <= timezone.now():
            raise forms.ValidationError("This moment is over; give one to come.")
        if moment > timezone.now() + _LONGEST:
            raise forms.ValidationError("Give a moment within a year from now.")
        return moment

    def clean(self) -> dict[str, Any]:
        """The fields. Raises ValidationError for two ends."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("ends") and data.get("ends_at"):
            self.add_error("ends", "Choose one of these, or give a moment, not both.")
        return data

    def expires_at(self) -> datetime | None:
        """When it ends by itself; None: it lasts."""
        seconds = self.cleaned_data["ends"]
        if seconds:
            return timezone.now() + timedelta(seconds=int(seconds))
        moment: datetime | None = self.cleaned_data["ends_at"]
        return moment

    def expiry(self) -> str:
        """As it was given."""
        return str(self.cleaned_data["ends"] or self.cleaned_data["ends_at"] or "")
