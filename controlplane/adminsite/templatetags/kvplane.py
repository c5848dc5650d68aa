"""Filters of the admin's templates."""

from django import template
from django.utils.safestring import SafeString

from controlplane.adminsite import show
from controlplane.adminsite.watches import condition_of
from controlplane.modes.models import DesiredMode
from controlplane.reconcile.models import Watch

register = template.Library()


@register.filter
def state_mark(word: object) -> SafeString:
    """A state as a coloured mark."""
    return show.state(word)


@register.filter
def as_document(value: object) -> SafeString:
    """JSON, one key a line."""
    return show.document(value)


@register.filter
def mode_name(desired: DesiredMode) -> str:
    """A mode that is switched, in words."""
    return show.mode_name(desired)


@register.filter
def condition_mark(watch: Watch) -> SafeString:
    """Whether the agent is as it should be, as a mark."""
    return show.state(condition_of(watch))
