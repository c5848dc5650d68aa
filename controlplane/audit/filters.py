"""Filters of the audit log."""

from django_filters import rest_framework as filters

from controlplane.audit.models import AuditEntry, Stage
from controlplane.rest.filters import MomentFilter


class AuditFilter(filters.FilterSet):
    """`?action=&actor=&agent=&operation=&stage=&outcome=&request_id=&since=&until=`."""

    action = filters.CharFilter()
    actor = filters.CharFilter(field_name="actor_name")
    agent = filters.CharFilter()
    operation = filters.UUIDFilter(field_name="operation_id")
    request_id = filters.CharFilter()
    stage = filters.ChoiceFilter(choices=Stage.choices)
    outcome = filters.CharFilter()
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        model = AuditEntry
        fields = [
            "action",
            "actor",
            "agent",
            "operation",
            "request_id",
            "stage",
            "outcome",
            "since",
            "until",
        ]
