"""Lists: as many queries for ten rows as for two, filters and searches by indexes, and
no counting of a long log."""

import pytest
from django.contrib.admin import site
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from controlplane.accounts.models import UserRole
from controlplane.adminsite import lists
from controlplane.adminsite.lists import LongListAdmin
from controlplane.audit import services as audit
from controlplane.audit.models import AuditEntry
from controlplane.operations.models import Operation

from ..conftest import ACTOR
from .test_registered import by_label, url

pytestmark = pytest.mark.django_db
AUDIT = "/admin/audit/auditentry/"
OPERATIONS = "/admin/operations/operation/"


def record(count: int = 1, **fields) -> None:
    for _ in range(count):
        audit.record(**{"action": "watch.retry", "actor": ACTOR, "request_id": "r", **fields})


def queries_of(client, path: str, **query: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path, query).status_code == 200
    return [query["sql"] for query in captured]


def shown(client, path: str, **query: str) -> list:
    answer = client.get(path, query)
    assert answer.status_code == 200
    return list(answer.context["cl"].result_list)


@by_label
def test_list__more_rows__need_no_more_queries(page_as, populate, model):
    client = page_as(UserRole.ADMIN)
    populate(2)
    few = queries_of(client, url(model, "changelist"))
    populate(6)
    many = queries_of(client, url(model, "changelist"))

    assert model._default_manager.count() >= 8
    assert len(many) <= len(few), many


@by_label
def test_page__more_rows__need_no_more_queries(page_as, populate, model):
    client = page_as(UserRole.ADMIN)
    populate(2)
    path = url(model, "change", model._default_manager.first().pk)
    few = queries_of(client, path)
    populate(6)

    assert len(queries_of(client, path)) <= len(few)


def test_audit_list__queries__each_reads_an_index(page_as, populate, monkeypatch):
    monkeypatch.setattr(site.get_model_admin(AuditEntry), "list_per_page", 2)
    client = page_as(UserRole.VIEWER)
    populate(2)

    for query in ({}, {"agent": "worker-0"}, {"action": "freeze.enable"}, {"period": "day"}):
        for statement in queries_of(client, AUDIT, **query):
            if "audit_auditentry" not in statement:
                continue
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
                plan = " ".join(str(row[-1]) for row in cursor.fetchall())
            assert "USE TEMP B-TREE" not in plan, (statement, plan)
            # Down from the newest, as far as the page reaches.
            is_bounded = "LIMIT" in statement and " WHERE " not in statement
            assert "SEARCH" in plan or is_bounded, (statement, plan)


def test_audit_list__whole_log__is_never_counted(page_as, populate):
    client = page_as(UserRole.VIEWER)
    populate(1)

    counting = [sql for sql in queries_of(client, AUDIT, agent="worker-0") if "COUNT(" in sql]
    assert counting
    assert all("LIMIT" in sql for sql in counting)


def test_long_list__sorting_and_counts_by_url__are_not_to_be_had(page_as, populate):
    client = page_as(UserRole.VIEWER)
    populate(2)

    for query in ({"o": "3"}, {"_facets": "True"}):
        for statement in queries_of(client, AUDIT, **query):
            assert 'ORDER BY "audit_auditentry"."action"' not in statement
    assert [entry.pk for entry in shown(client, AUDIT, o="3")] == sorted(
        AuditEntry.objects.values_list("pk", flat=True), reverse=True
    )


def test_audit_list__more_than_is_counted__says_so_and_goes_on(page_as, monkeypatch):
    monkeypatch.setattr(lists, "MOST", 3)
    record(5, agent="w")
    client = page_as(UserRole.VIEWER)

    answer = client.get(AUDIT, {"agent": "w"})
    assert "more than 3 audit entries" in answer.content.decode()
    page = answer.context["cl"]
    last = list(page.result_list)[-1].pk
    assert f"before={last}" in page.older_query
    older = client.get(f"{AUDIT}{page.older_query}")
    assert {entry.pk for entry in older.context["cl"].result_list} == {
        pk for pk in AuditEntry.objects.filter(agent="w").values_list("pk", flat=True) if pk < last
    }


@pytest.mark.parametrize("column", ["agent", "engine", "target", "action", "actor_name", "outcome"])
def test_audit_list__filter_of_a_column__is_exact(page_as, column):
    marked = {"agent": "w-1", "engine": "e-1", "target": "user:x", "outcome": "denied"}
    value = {**marked, "action": "watch.policy", "actor_name": ACTOR.name}[column]
    record(2)
    record(1, **({column: value} if column != "actor_name" else {}))
    client = page_as(UserRole.VIEWER)

    expected = set(AuditEntry.objects.filter(**{column: value}).values_list("pk", flat=True))
    assert {entry.pk for entry in shown(client, AUDIT, **{column: value})} == expected
    assert shown(client, AUDIT, **{column: value[:-1]}) == []


@pytest.mark.skipif(connection.vendor != "sqlite", reason="plans of SQLite")
def test_audit_list__several_exact_filters__begin_with_the_rarest_and_look_up_the_others(page_as):
    for number in range(8):
        record(agent=f"w-{number % 4}", outcome="failed" if number else "unknown")
    wanted = {"action": "watch.retry", "agent": "w-0", "outcome": "unknown"}
    statements = queries_of(page_as(UserRole.VIEWER), AUDIT, **wanted)

    reading = [sql for sql in statements if '"document"' in sql or "COUNT(" in sql]
    reading = [sql for sql in reading if "alike" in sql]
    # The page, and the number of rows above it.
    assert len(reading) == 2
    for statement in reading:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}")
            plan = " ".join(str(row[-1]) for row in cursor.fetchall())
        assert "SEARCH audit_auditentry USING INDEX audit_outcome (outcome=?)" in plan
        assert "SEARCH alike USING INDEX audit_agent (agent=? AND id=?" in plan
        assert "SEARCH alike USING INDEX audit_action (action=? AND id=?" in plan


def test_audit_list__several_exact_filters__shows_what_has_all_of_them(page_as):
    for number in range(8):
        record(agent=f"w-{number % 4}", outcome="failed" if number % 2 else "denied")
    client = page_as(UserRole.VIEWER)

    found = shown(client, AUDIT, agent="w-1", outcome="failed", period="day")
    assert [(entry.agent, entry.outcome) for entry in found] == [("w-1", "failed")] * 2
    assert shown(client, AUDIT, agent="w-1", outcome="denied") == []
    assert shown(client, AUDIT, agent="w-1", operation_id="no-uuid") == []


@pytest.mark.parametrize("value", ["no-uuid", "0b0e8d5c-7f57-4d0e-9f0b-2f0a7c1d9e55"])
def test_audit_list__operation_that_is_not_there__shows_nothing(page_as, populate, value):
    populate(1)

    assert shown(page_as(UserRole.VIEWER), AUDIT, operation_id=value) == []


@pytest.mark.parametrize("query", [{"since": "gibberish"}, {"until": "9999-99-99T00:00"}])
def test_audit_list__moment_that_cannot_be_read__shows_nothing(page_as, populate, query):
    populate(1)

    assert shown(page_as(UserRole.VIEWER), AUDIT, **query) == []


def test_audit_list__from_and_until__bound_it(page_as, populate):
    populate(1)
    client = page_as(UserRole.VIEWER)

    assert shown(client, AUDIT, since="2020-01-01T00:00")
    assert shown(client, AUDIT, since="2090-01-01T00:00") == []
    assert shown(client, AUDIT, until="2020-01-01T00:00") == []
    assert len(shown(client, AUDIT, period="hour")) == AuditEntry.objects.count()


@pytest.mark.parametrize(
    ("term", "finds"),
    [
        ("w-1", {"agent": "w-1"}),
        ("e-1", {"engine": "e-1"}),
        ("req-7", {"request_id": "req-7"}),
        ("watch.policy", {"action": "watch.policy"}),
        ("user:x", {"target": "user:x"}),
    ],
)
def test_audit_search__exact_value__of_any_indexed_column(page_as, term, finds):
    record(2)
    record(1, **finds)

    found = shown(page_as(UserRole.VIEWER), AUDIT, q=term)

    assert [getattr(entry, next(iter(finds))) for entry in found] == [term]


def test_audit_search__number_and_operation__are_found(page_as, populate):
    populate(1)
    client = page_as(UserRole.VIEWER)
    entry = AuditEntry.objects.exclude(operation_id=None).first()

    assert [found.pk for found in shown(client, AUDIT, q=str(entry.pk))] == [entry.pk]
    by_operation = shown(client, AUDIT, q=str(entry.operation_id))
    assert {found.operation_id for found in by_operation} == {entry.operation_id}
    assert shown(client, AUDIT, q="9" * 30) == []


def test_audit_search__text_of_a_difference__is_found_newest_first(page_as, populate):
    record(1, before={"min_retrieve_tokens": 1}, after={"min_retrieve_tokens": 512})
    record(1, before={"min_retrieve_tokens": 2}, after={"min_retrieve_tokens": 512})
    record(3)
    client = page_as(UserRole.VIEWER)

    found = shown(client, AUDIT, q="retrieve_tok")

    assert [entry.diff["min_retrieve_tokens"]["from"] for entry in found] == [2, 1]
    assert shown(client, AUDIT, q="zz") == []


def test_operations__of_an_agent__by_filter_and_by_search(page_as, populate):
    populate(3)
    client = page_as(UserRole.VIEWER)
    expected = list(Operation.objects.filter(targets__agent="worker-1"))

    assert shown(client, OPERATIONS, agent="worker-1") == expected
    assert shown(client, OPERATIONS, q="worker-1") == expected
    assert shown(client, OPERATIONS, q=str(expected[0].pk)) == expected
    assert len(shown(client, OPERATIONS, q="freeze.enable")) == 3
    assert shown(client, OPERATIONS, q="no such thing") == []


def test_agents__of_an_engine__also_of_one_that_has_none(page_as, populate):
    populate(2)
    client = page_as(UserRole.VIEWER)

    found = shown(client, "/admin/fleet/agent/", engine="engine-1")

    assert [agent.name for agent in found] == ["worker-1"]
    assert shown(client, "/admin/fleet/agent/", engine="engine-9") == []


def test_moments__on_pages__are_written_as_in_logs(page_as, populate):
    populate(1)
    moment = AuditEntry.objects.order_by("-id").first().created_at

    assert f"{moment:%Y-%m-%d %H:%M:%S}<" in page_as(UserRole.VIEWER).get(AUDIT).content.decode()


def test_filter__other_filters_and_search__are_kept(page_as, populate):
    populate(1)
    text = (
        page_as(UserRole.VIEWER)
        .get(AUDIT, {"agent": "worker-0", "period": "day", "q": "freeze.enable"})
        .content.decode()
    )

    by_action = text.split('data-filter-title="action"')[1].split("</form>")[0]
    for name, value in (("agent", "worker-0"), ("period", "day"), ("q", "freeze.enable")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in by_action


def test_long_lists__all_of_them__search_only_by_indexes():
    for page in site._registry.values():
        if not isinstance(page, LongListAdmin):
            continue
        indexed = {"pk", "id"} | {
            field.name for field in page.model._meta.get_fields() if getattr(field, "db_index", 0)
        }
        for group in (*page.model._meta.indexes, *page.model._meta.constraints):
            if fields := list(getattr(group, "fields", ())):
                indexed.add(fields[0])
        for column in page.searched:
            name = column if column != "targets__agent" else "id"
            assert name in indexed, (page, column)


def test_index__tables_of_the_admin__open(page_as, populate):
    populate(1)

    for app in ("accounts", "audit", "configuration", "fleet", "modes", "operations"):
        path = reverse("admin:app_list", kwargs={"app_label": app})
        assert page_as(UserRole.ADMIN).get(path).status_code == 200
