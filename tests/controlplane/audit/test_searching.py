"""Finding entries."""

import json
import uuid
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.audit import searching
from controlplane.audit.models import AuditEntry
from controlplane.audit.searching import containing

MANY = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
TEXTS = st.text(
    st.sampled_from("aAbB%_\\\"'*-^:() \n\tÄäß€😀")
    | st.characters(codec="utf-8", exclude_characters="\x00"),
    min_size=3,
    max_size=6,
)


@pytest.fixture
def found(viewer_api):
    """The request ids of what a query finds."""

    def ask(**query: object) -> list[str]:
        response = viewer_api.get(f"/api/v1/audit/?{urlencode(query)}")
        assert response.status_code == 200, response.content
        return [
            entry["request_id"]
            for entry in response.json()["results"]
            if entry["request_id"] != "setup"
        ]

    return ask


def test_filters__each__selects(db, write, found):
    write(0, request_id="one", agent="a", engine="red", outcome="failed", status=502)
    write(0, request_id="two", agent="b", engine="blue", target="user:ada")

    assert found(agent="a") == ["one"]
    assert found(target="agent:a") == ["one"]
    assert found(target="user:ada") == ["two"]
    assert found(engine="blue") == ["two"]
    assert found(status=502) == ["one"]
    assert found(outcome="failed") == ["one"]
    assert found(actor_kind="command") == ["two", "one"]
    assert found(actor_kind="command", engine="red", agent="b") == []


def test_time__since_and_until__hold_what_lies_between(log, found):
    begin, end = log[3].created_at, log[9].created_at
    between = [entry.request_id for entry in log if begin <= entry.created_at < end]

    assert found(since=begin.isoformat(), until=end.isoformat(), ordering="id") == between
    assert found(since=(log[11].created_at + timedelta(days=1)).isoformat()) == []
    assert len(found(until=(log[11].created_at + timedelta(days=1)).isoformat())) == 12
    assert found(until=log[0].created_at.isoformat()) == []


@pytest.mark.parametrize("ordering", ["created_at", "-created_at", "id", "-id"])
def test_ordering__by_moment_or_number__is_the_same(log, found, ordering):
    numbers = [entry.request_id for entry in log]

    assert found(ordering=ordering) == (numbers[::-1] if ordering[0] == "-" else numbers)


def test_text__in_the_difference__is_found_whatever_case(db, write, found):
    write(0, request_id="one", before={}, after={"remote_url": "fs:///Cache"})
    write(0, request_id="two", before={}, after={"chunk_size": 256})
    write(0, request_id="three", before=None, after=None, reason="fs:///Cache")

    assert found(text="fs:///cache") == ["one"]
    assert found(text="CHUNK_SIZE") == ["two"]
    assert found(text="chunk_size", agent="worker-0") == ["two"]
    assert found(text="chunk_size", agent="worker-1") == []


def test_text__common_with_another_filter__is_read_and_not_looked_up(db, write, found, monkeypatch):
    monkeypatch.setitem(searching._COMMON, connection.vendor, 2)
    write(0, request_id="one", before={}, after={"Chunk_%": "a"})
    write(1, request_id="two", before={}, after={"chunk_%": "b"})
    write(3, request_id="three", before={}, after={"chunk__": "b"})

    assert found(text="chunk_%", agent="worker-0") == ["one"]
    assert found(text="chunk_", agent="worker-0") == ["three", "one"]
    assert found(text="chunk_%") == ["two", "one"]


@pytest.mark.parametrize("text", ["", "ab"])
def test_text__too_short__is_400_naming_it(viewer_api, text):
    response = viewer_api.get(f"/api/v1/audit/?{urlencode({'text': text})}")

    assert response.status_code == (400 if text else 200)
    if text:
        assert "3 characters" in response.json()["message"]


def test_text__pages__hold_every_entry_once(db, write, viewer_api):
    written = [write(number, agent="paged").pk for number in range(1, 12)]
    for ordering, expected in (("id", written), ("-id", written[::-1])):
        url, seen = f"/api/v1/audit/?text=max_local&page_size=3&ordering={ordering}", []
        while url:
            page = viewer_api.get(url).json()
            seen += [entry["id"] for entry in page["results"]]
            url = page["next"]
        assert seen == expected


@MANY
@given(texts=st.lists(TEXTS, min_size=1, max_size=4), wanted=TEXTS, data=st.data())
def test_text__any_characters__finds_what_reading_all_would(db, write, texts, wanted, data):
    before = AuditEntry.objects.order_by("-id").values_list("pk", flat=True).first() or 0
    entries = [write(before={}, after={text: text}) for text in texts]
    wanted = data.draw(st.sampled_from([wanted, *texts]))
    ours = AuditEntry.objects.filter(pk__gt=before)
    found = {entry.pk for entry in containing(ours, wanted)}

    exactly = {entry.pk for entry in entries if _is_in(wanted, entry, str)}
    folded = {entry.pk for entry in entries if _is_in(wanted, entry, str.casefold)}
    # How far databases fold case differs; whether they find what is written does not.
    assert exactly <= found
    assert found <= folded | {entry.pk for entry in entries if _is_in(wanted, entry, str.upper)}


def _is_in(wanted: str, entry: AuditEntry, fold) -> bool:
    diff = json.dumps(entry.diff, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return fold(json.dumps(wanted, ensure_ascii=False)[1:-1]) in fold(diff)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="plans of SQLite")
@pytest.mark.parametrize(
    "query",
    [
        "",
        "agent=worker-1",
        "action=conf.update",
        "actor=tests",
        "engine=red",
        "target=agent:worker-1",
        "outcome=failed",
        "request_id=r-1",
        "operation=0198c0de-0000-7000-8000-000000000000",
        "since=2026-01-01T00:00:00Z",
        "text=max_local",
        "text=max_local&agent=worker-1",
        "outcome=failed&actor=tests&agent=worker-1",
    ],
)
def test_page__plan__neither_sorts_nor_scans_the_table(
    log, viewer_api, django_assert_max_num_queries, monkeypatch, query
):
    monkeypatch.setitem(searching._COMMON, connection.vendor, 2)
    with django_assert_max_num_queries(6) as captured:
        viewer_api.get(f"/api/v1/audit/?{query}")
    (page,) = [q["sql"] for q in captured if '"document"' in q["sql"]] or [None]
    if page is None:
        return
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {page}")
        plan = [row[3] for row in cursor.fetchall()]

    assert not any("TEMP B-TREE" in step for step in plan), plan
    assert query in ("", "since=2026-01-01T00:00:00Z") or not any(
        step == "SCAN audit_auditentry" for step in plan
    ), plan


@pytest.mark.skipif(connection.vendor != "sqlite", reason="plans of SQLite")
def test_page__of_several_values__begins_with_the_rarest_and_looks_up_the_others(
    db, write, viewer_api, django_assert_max_num_queries
):
    for number in range(8):
        write(number, agent=f"agent-{number % 4}", outcome="failed" if number else "unknown")
    with django_assert_max_num_queries(6) as captured:
        viewer_api.get("/api/v1/audit/?stage=completed&outcome=unknown&agent=agent-0")
    (page,) = [query["sql"] for query in captured if '"document"' in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {page}")
        plan = " ".join(row[3] for row in cursor.fetchall())

    assert "SEARCH audit_auditentry USING INDEX audit_outcome (outcome=?)" in plan
    assert "SEARCH alike USING INDEX audit_agent (agent=? AND id=?" in plan
    assert "SEARCH alike USING INDEX audit_stage (stage=? AND id=?" in plan


VALUES = {
    "agent": st.sampled_from(["a", "b"]),
    "engine": st.sampled_from(["red", "blue"]),
    "outcome": st.sampled_from(["succeeded", "failed"]),
    "status": st.sampled_from([200, 502]),
    "operation_id": st.sampled_from([uuid.UUID(int=1), uuid.UUID(int=2)]),
}


@MANY
@given(
    written=st.lists(st.fixed_dictionaries(VALUES), max_size=6),
    wanted=st.fixed_dictionaries({}, optional=VALUES),
    frequent=st.sampled_from([1, 2, 20_000]),
)
def test_equal_to__any_values__finds_what_has_all_of_them(
    db, write, monkeypatch, written, wanted, frequent
):
    monkeypatch.setattr(searching, "_FREQUENT", frequent)
    before = AuditEntry.objects.order_by("-id").values_list("pk", flat=True).first() or 0
    entries = [write(**values) for values in written]
    ours = AuditEntry.objects.filter(pk__gt=before)

    found = {entry.pk for entry in searching.equal_to(ours, wanted)}

    assert found == {
        entry.pk
        for entry, values in zip(entries, written, strict=True)
        if wanted.items() <= values.items()
    }


@pytest.mark.skipif(connection.vendor != "sqlite", reason="plans of SQLite")
def test_page__of_a_common_text_and_a_frequent_value__is_led_by_the_text(
    db, write, viewer_api, monkeypatch, django_assert_max_num_queries
):
    monkeypatch.setitem(searching._COMMON, connection.vendor, 2)
    monkeypatch.setattr(searching, "_FREQUENT", 2)
    for number in range(1, 9):
        write(number, agent=f"agent-{number % 4}", outcome="failed")
    with django_assert_max_num_queries(8) as captured:
        found = viewer_api.get("/api/v1/audit/?text=max_local&outcome=failed&agent=agent-0")
    (page,) = [query["sql"] for query in captured if '"document"' in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {page}")
        plan = " ".join(row[3] for row in cursor.fetchall())

    assert [entry["agent"] for entry in found.json()["results"]] == ["agent-0", "agent-0"]
    assert "SCAN audit_changes VIRTUAL TABLE" in plan
    assert "SEARCH alike USING INDEX audit_outcome (outcome=? AND id=?" in plan
    assert "SEARCH alike USING INDEX audit_agent (agent=? AND id=?" in plan
    assert "TEMP B-TREE" not in plan


@MANY
@given(
    written=st.lists(st.fixed_dictionaries({**VALUES, "after": TEXTS}), max_size=6),
    wanted=st.fixed_dictionaries({}, optional=VALUES),
    text=st.data(),
    frequent=st.sampled_from([1, 2, 20_000]),
    common=st.sampled_from([1, 2, 2000]),
)
def test_containing__any_text_and_values__finds_what_has_both(
    db, write, monkeypatch, written, wanted, text, frequent, common
):
    monkeypatch.setattr(searching, "_FREQUENT", frequent)
    monkeypatch.setitem(searching._COMMON, connection.vendor, common)
    known = [dict(values) for values in written]
    texts = [values.pop("after") for values in known]
    sought = text.draw(st.sampled_from(["max_local", *texts]))
    entries = [
        write(before={}, after={content: content}, **values)
        for content, values in zip(texts, known, strict=True)
    ]
    numbers = {entry.pk for entry in entries}

    with_text = {entry.pk for entry in containing(AuditEntry.objects.all(), sought)}
    found = {entry.pk for entry in containing(AuditEntry.objects.all(), sought, wanted)}

    assert found & numbers == {
        entry.pk
        for entry, values in zip(entries, known, strict=True)
        if entry.pk in with_text and wanted.items() <= values.items()
    }
