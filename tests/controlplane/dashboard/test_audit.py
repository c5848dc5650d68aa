"""The audit pages: facets, one entry, the chain."""

import re
import threading
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from controlplane.audit import background, guards, services
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.models import AuditEntry
from tests.support.waiting import eventually

from ..conftest import ACTOR

pytestmark = pytest.mark.django_db


def record(**fields) -> AuditEntry:
    given = {"action": "conf.update", "actor": ACTOR, "request_id": "req-1", "outcome": "succeeded"}
    return services.record(**{**given, **fields})


def text_of(answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


def numbers(answer) -> list[int]:
    return [int(n) for n in re.findall(r'data-opens="entry-panel">(\d+)<', answer.content.decode())]


@pytest.fixture(autouse=True)
def verifier(monkeypatch) -> background.Verifier:
    """One of the test's own: the shared one remembers other tests."""
    made = background.Verifier()
    monkeypatch.setattr("controlplane.dashboard.views.audit.shared_verifier", lambda: made)
    return made


@pytest.fixture
def several() -> dict[str, AuditEntry]:
    return {
        "changed": record(
            agent="worker-0",
            engine="engine-a",
            reason="shorter prompts",
            before={"min_retrieve_tokens": 0},
            after={"min_retrieve_tokens": 256},
        ),
        "same request": record(agent="worker-1", engine="engine-b"),
        "failed": record(
            action="freeze.enable", agent="worker-0", outcome="failed", request_id="req-2"
        ),
        "user": record(action="user.create", target="user:bob", request_id="req-3"),
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["user", "failed", "same request", "changed"]),
        ("action=freeze.enable", ["failed"]),
        ("outcome=failed", ["failed"]),
        ("agent=worker-0", ["failed", "changed"]),
        ("engine=engine-b", ["same request"]),
        ("target=user:bob", ["user"]),
        ("request_id=req-1", ["same request", "changed"]),
        ("actor=nobody", []),
        ("text=retrieve_TOK", ["changed"]),
        ("since=2000-01-01T00:00&agent=worker-1", ["same request"]),
        ("until=2000-01-01T00:00", []),
    ],
)
def test_facets__in_the_address__leave_those_that_fit(viewer, several, query, names) -> None:
    # Logging in is on record too.
    page = viewer.get(f"/dashboard/audit/?{query}")
    known = {entry.pk: name for name, entry in several.items()}
    assert [known[pk] for pk in numbers(page) if pk in known] == names


def test_facets__fit_nothing__shows_a_way_back(viewer) -> None:
    assert "No entry fits" in text_of(viewer.get("/dashboard/audit/?agent=nobody"))


@pytest.mark.parametrize("query", ["text=ab", "since=soon", "operation=7"])
def test_facets__cannot_be_read__400_naming_it(viewer, query) -> None:
    page = viewer.get(f"/dashboard/audit/?{query}")
    assert page.status_code == 400
    assert f"{query.partition('=')[0]}:" in text_of(page)


def actor(name: str) -> Actor:
    return Actor(ActorKind.USER, name, f"user:{name}")


def test_facets__values__have_counts_and_lead_to_what_fits_them(viewer, several) -> None:
    page = viewer.get("/dashboard/audit/?agent=worker-0")
    text = text_of(page)
    assert "Counted in all that fits." in text
    assert "Action conf.update 1 · freeze.enable 1" in text
    assert "Outcome failed 1 · succeeded 1" in text
    # Everybody there is the same actor.
    assert "Kind of actor command" not in text
    href = '/dashboard/audit/?agent=worker-0&amp;outcome=failed"'
    assert f'href="{href}>failed</a>' in page.content.decode()


def test_facets__one_is_chosen__its_other_values_can_be_chosen_instead(viewer, several) -> None:
    text = text_of(viewer.get("/dashboard/audit/?agent=worker-0&outcome=failed"))
    assert "Outcome failed 1 · succeeded 1" in text
    # Of what fits that outcome.
    assert "Action freeze.enable 1" not in text


def test_facets__more_entries_than_are_counted__says_so(viewer, several, monkeypatch) -> None:
    monkeypatch.setattr("controlplane.dashboard.facets.SAMPLE", 2)
    text = text_of(viewer.get("/dashboard/audit/?request_id=req-1"))
    assert "Counted in the newest 2 entries that fit what else is asked for." in text


def test_facets__part_of_an_actors_name__names_whose_it_is(viewer, several) -> None:
    for name in ("anna", "anna/test", "bob"):
        record(actor=actor(name))
    page = viewer.get("/dashboard/audit/?actor=ann")
    assert "There are also anna (1), anna/test (1)." in text_of(page)
    assert 'href="/dashboard/audit/?actor=anna%2Ftest"' in page.content.decode()
    assert "There is also anna/test (1)." in text_of(viewer.get("/dashboard/audit/?actor=anna"))
    assert '<option value="anna/test">1 entry</option>' in page.content.decode()


@pytest.mark.parametrize(
    ("query", "chip", "without"),
    [
        ("actor_kind=command&status=200", "kind of actor command", "status=200"),
        ("status=200&stage=event", "status 200", "stage=event"),
        ("request_id=req-1&operation=" + "0" * 32, "request req-1", f"operation={UUID(int=0)}"),
        ("agent=%20a&since=2026-01-01T00:00", "agent a", "since=2026-01-01T00%3A00%3A00%2B00%3A00"),
        ("text=%20retrieve%20&stage=event", "stage event", "text=+retrieve+"),
    ],
)
def test_facets__asked_for__are_told_with_a_way_to_be_rid_of_each(
    viewer, several, query, chip, without
) -> None:
    page = viewer.get(f"/dashboard/audit/?{query}")
    assert f"{chip} take away" in text_of(page)
    assert f'href="/dashboard/audit/?{without}"' in page.content.decode()


@pytest.mark.parametrize("query", ["actor=%20anna%20", "actor=anna&status=%20200.0"])
def test_facets__asked_for_with_what_the_filter_strips__are_counted_as_it_is(viewer, query) -> None:
    record(actor=actor("anna"), status=200)
    record(actor=actor("anna"), status=200, action="freeze.enable")
    record(actor=actor("anna/test"), status=200)
    page = viewer.get(f"/dashboard/audit/?{query}")
    assert len(numbers(page)) == 2
    text = text_of(page)
    assert "Actor anna 2 · anna/test 1" in text
    assert "Action conf.update 1 · freeze.enable 1" in text
    assert "There is also anna/test (1)." in text
    assert "+anna" not in page.content.decode()


def test_facets__asked_for_blanks__is_the_whole_log(viewer, several) -> None:
    page = viewer.get("/dashboard/audit/?actor=%20&agent=")
    assert "take away" not in text_of(page)
    assert "The whole log as a file" in text_of(page)


@pytest.mark.parametrize("query", ["actor_kind=command", "stage=event", "outcome=odd"])
def test_facets__in_the_address__stand_in_the_form(viewer, query) -> None:
    value = query.partition("=")[2]
    page = viewer.get(f"/dashboard/audit/?{query}").content.decode()
    assert re.search(rf'<option(?: value="{value}")? selected>{value}</option>', page)


def test_entry__with_a_difference__shows_both_sides_and_the_ways_on(viewer, several) -> None:
    entry = several["changed"]
    page = viewer.get(f"/dashboard/audit/{entry.pk}/")
    assert "min_retrieve_tokens 0 256" in text_of(page)
    assert "shorter prompts" in text_of(page)
    assert entry.mac in page.content.decode()
    found = re.search(r'href="([^"]+)">everything in the same request', page.content.decode())
    assert found is not None
    listed = viewer.get(found[1].replace("&amp;", "&"))
    assert set(numbers(listed)) == {entry.pk, several["same request"].pk}
    found = re.search(r'href="([^"]+)">everything about this agent', page.content.decode())
    assert found is not None
    assert set(numbers(viewer.get(found[1]))) == {entry.pk, several["failed"].pk}


def test_entry__asked_for_by_htmx__is_the_panel_alone(viewer, several) -> None:
    url = f"/dashboard/audit/{several['failed'].pk}/"
    part = viewer.get(url, headers={"HX-Request": "true"}).content.decode()
    assert "<h2>Entry" in part
    assert "<html" not in part


def test_entry__unknown__404_page(viewer) -> None:
    page = viewer.get("/dashboard/audit/4711/")
    assert page.status_code == 404
    assert "may be in an archive" in text_of(page)


def test_export__links__give_what_fits(viewer, several) -> None:
    page = viewer.get("/dashboard/audit/?agent=worker-0").content.decode()
    links = re.findall(r'href="(/api/v1/audit/export[^"]+)"', page)
    assert len(links) == 2
    for link in links:
        answer = viewer.get(link.replace("&amp;", "&"))
        assert answer.status_code == 200
        lines = b"".join(answer.streaming_content).decode().strip().splitlines()
        with_header = 1 if urlsplit(link).query.endswith("csv") else 0
        assert len(lines) == 2 + with_header


def test_chain__nobody_looked__every_page_says_so(viewer) -> None:
    for path in ("", "operations/", "revisions/", "audit/", "nowhere", "?role=odd"):
        assert "never verified" in text_of(viewer.get(f"/dashboard/{path}"))


@pytest.mark.django_db(transaction=True)
def test_verify_now__admin__badge_tells_up_to_where_and_by_whom(admin, several) -> None:
    last = AuditEntry.objects.latest("id").pk
    answer = admin.post("/dashboard/audit/verify", follow=True)
    assert "The audit log is what was written" in text_of(answer)
    page = text_of(answer)
    assert f"valid up to {last}" in page
    assert "by admin" in page
    (entry,) = AuditEntry.objects.filter(action="audit.verify")
    assert (entry.actor_name, entry.outcome) == ("admin", "succeeded")
    fleet = admin.get("/dashboard/").content.decode()
    assert re.search(r'title="Verified [^"]+ UTC by admin"', fleet)
    part = admin.get("/dashboard/audit/chain").content.decode()
    assert part.startswith('<a id="chain" class="badge chain ok"')


@pytest.mark.django_db(transaction=True)
def test_chain__verified_long_ago__badge_says_when_and_warns(admin, several, monkeypatch) -> None:
    admin.post("/dashboard/audit/verify")
    badge = admin.get("/dashboard/audit/chain")
    assert re.search(r"valid up to \d+ , seen \d+ s ago", text_of(badge))
    assert "nobody has looked at" not in text_of(admin.get("/dashboard/audit/"))
    monkeypatch.setattr("controlplane.dashboard.chain._FRESH", timedelta(0))
    badge = admin.get("/dashboard/audit/chain").content.decode()
    assert badge.startswith('<a id="chain" class="badge chain warn"')
    page = text_of(admin.get("/dashboard/audit/"))
    assert "what was changed or added since, nobody has looked at" in page


@pytest.mark.django_db(transaction=True)
def test_verify_now__entry_was_changed__badge_says_broken_at_it(admin, several) -> None:
    changed = several["changed"].pk
    with guards.lifted(connection), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE audit_auditentry SET document = replace(document, 'shorter', 'longer') "
            "WHERE id = %s",
            [changed],
        )
    answer = admin.post("/dashboard/audit/verify", follow=True)
    assert "The audit log is broken" in text_of(answer)
    badge = re.search(r'<a id="chain".*?</a>', admin.get("/dashboard/").content.decode(), re.DOTALL)
    assert badge is not None
    assert 'class="badge chain bad"' in badge[0]
    assert f"BROKEN at entry {changed}" in badge[0]


@pytest.mark.django_db(transaction=True)
def test_verify_now__takes_long__page_does_not_wait_and_the_log_is_read_once(
    admin, monkeypatch, verifier
) -> None:
    go_on = threading.Event()
    begun: list[str] = []

    def take_long(*, request_id, **given) -> None:
        begun.append(request_id)
        go_on.wait(10)

    monkeypatch.setattr(background, "verify_on_record", take_long)
    monkeypatch.setattr("controlplane.dashboard.views.audit._WAIT_SECONDS", 0.05)

    for _ in range(2):
        answer = admin.post("/dashboard/audit/verify", follow=True)
        assert "The log is being verified; the badge shows what is found." in text_of(answer)

    assert len(begun) == 1
    go_on.set()
    eventually(lambda: not verifier.progress().is_running)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [OSError("disk"), DatabaseError("gone")])
def test_verify_now__breaks_down__is_told(admin, monkeypatch, error) -> None:
    def break_down(*given) -> None:
        raise error

    monkeypatch.setattr("controlplane.audit.verifying.verify", break_down)

    answer = admin.post("/dashboard/audit/verify", follow=True)

    assert answer.status_code == 200
    assert "Verifying could not be finished; the server&#x27;s log says why." in text_of(answer)


def test_audit__viewer__has_no_button_to_verify(viewer) -> None:
    assert "Verify now" not in text_of(viewer.get("/dashboard/audit/"))


@pytest.mark.parametrize("count", [1, 40])
def test_audit__queries__are_a_handful_whatever_the_number_of_entries(viewer, count) -> None:
    for number in range(count):
        record(agent=f"worker-{number}")
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get("/dashboard/audit/?action=conf.update").status_code == 200
    # Session and user, entries, those that are counted, agents and engines to choose of,
    # chain, cursor.
    assert len(captured) == 8
