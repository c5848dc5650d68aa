"""The fleet page: what it tells, and what a filter leaves."""

import re
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.audit.authorship import Authorship
from controlplane.audit.services import record
from controlplane.fleet.models import Dialect, Engine, Health
from controlplane.modes import services as modes
from controlplane.modes.models import DesiredMode, Mode
from controlplane.modes.services import Switch, Wish
from engine.contract import Role

from ..conftest import ACTOR
from .pages import text_of

pytestmark = pytest.mark.django_db

BY = Authorship(ACTOR, "deploy 42", "req-1", None)


def turn(agent: str, switch: Switch, *, value: bool, minutes: int | None = None) -> None:
    end = None if minutes is None else timezone.now() + timedelta(minutes=minutes, seconds=20)
    with transaction.atomic():
        modes.apply(modes.propose(agent, Wish(switch, value, end), BY))


def row_of(page: str, agent: str) -> str:
    """The text of the agent's row."""
    rows = re.findall(r"<tr.*?</tr>", page, re.DOTALL)
    (row,) = [row for row in rows if f">{agent}</a>" in row]
    return " ".join(re.sub(r"<[^>]+>", " ", row).split())


def shown(page: str) -> list[str]:
    return re.findall(r'<th scope="row"[^>]*><a [^>]*>([^<]+)</a>', page)


def test_fleet__agent_that_was_seen__row_tells_all_of_it(viewer, make_agent, seen) -> None:
    seen(make_agent())
    page = viewer.get("/dashboard/").content.decode()
    row = row_of(page, "worker-0")
    assert row.startswith("worker-0 worker 0 online tiny-model 0.1.0 1 as usual")
    assert "75.0 % of 1.0k" in row
    assert "512.0 MiB of 1.0 GiB" in row
    assert re.search(r"\d s ago$", row)
    assert 'title="750 of 1,000 chunks looked up"' in page
    assert 'title="org/tiny-model"' in page


def test_fleet__agent_that_was_never_seen__claims_nothing(viewer, make_agent) -> None:
    make_agent()
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert row == "worker-0 worker 0 unknown — — — not known — — never"


def test_fleet__modes_with_an_end__badges_say_when_and_why(viewer, make_agent, seen) -> None:
    seen(make_agent())
    turn("worker-0", Switch(Mode.FREEZE), value=True, minutes=9)
    turn("worker-0", Switch(Mode.BYPASS, "RemoteBackend"), value=True)
    turn("worker-0", Switch(Mode.HOT_CACHE), value=False, minutes=150)
    page = viewer.get("/dashboard/").content.decode()
    row = row_of(page, "worker-0")
    assert "frozen · ends in 9 min" in row
    assert "bypass RemoteBackend" in row
    assert "hot cache off · ends in 2 h" in row
    # For touch, keyboard and screen readers: not in a title.
    assert row.count("by tests: deploy 42") == 3


def test_fleet__offline_agent__state_is_what_it_was(viewer, make_agent, seen) -> None:
    agent = seen(make_agent())
    agent.health = Health.OFFLINE
    agent.last_seen_at = timezone.now() - timedelta(seconds=51)
    agent.save()
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert re.search(r"was as usual 5\d s ago", row)


def test_fleet__offline_agent_with_a_badge__says_as_of_when(viewer, make_agent, seen) -> None:
    agent = seen(make_agent(), said={"freeze": True})
    agent.health = Health.OFFLINE
    agent.last_seen_at = timezone.now() - timedelta(seconds=51)
    agent.save()
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert re.search(r"frozen as of 5\d s ago", row)


def test_fleet__never_seen_and_to_be_frozen__does_not_say_that_it_is(viewer, make_agent) -> None:
    make_agent()
    turn("worker-0", Switch(Mode.FREEZE), value=True)
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert "frozen by tests: deploy 42 is wanted; not known whether it is so" in row


def test_fleet__tells_nothing_of_its_modes__they_are_not_known(viewer, make_agent, seen) -> None:
    agent = seen(make_agent())
    agent.last_status = {"versions": {"kvplane": "0.1.0"}}
    agent.save()
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert "as usual" not in row
    assert "not known" in row


@pytest.mark.parametrize(
    ("health", "text"),
    [(Health.ONLINE, "frozen · ending"), (Health.OFFLINE, "frozen · should have ended 30 s ago")],
)
def test_fleet__mode_is_past_its_end__is_ending_or_nobody_knows(
    viewer, make_agent, seen, health, text
) -> None:
    agent = seen(make_agent(), said={"freeze": True})
    turn("worker-0", Switch(Mode.FREEZE), value=True)
    DesiredMode.objects.update(expires_at=timezone.now() - timedelta(seconds=30))
    agent.health = health
    agent.save()
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert text in row


def test_fleet__drift_in_several_keys__row_names_them(viewer, make_agent, seen) -> None:
    seen(make_agent(), drift={"configuration": {"alpha": {}, "beta": {}}})
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert "drift: 2 settings alpha, beta" in row


def test_agent_page__frozen__says_why_in_words(viewer, make_agent, seen) -> None:
    seen(make_agent(), said={"freeze": True})
    turn("worker-0", Switch(Mode.FREEZE), value=True)
    page = viewer.get("/dashboard/agents/worker-0/")
    assert "frozen by tests: deploy 42" in text_of(page)


def test_fleet__engine_without_agents__says_what_to_do(viewer, admin, make_agent) -> None:
    make_agent()
    engine = Engine.objects.create(name="gone")
    assert "an admin can remove the engine" in text_of(viewer.get("/dashboard/"))
    page = admin.get("/dashboard/").content.decode()
    assert f'href="/admin/fleet/engine/{engine.pk}/delete/"' in page


def test_fleet__agent_says_otherwise_since__what_it_says_is_shown(viewer, make_agent, seen) -> None:
    agent = make_agent()
    turn("worker-0", Switch(Mode.FREEZE), value=True)
    seen(agent)
    agent.last_seen_at = timezone.now() + timedelta(seconds=1)
    agent.save()
    assert "frozen" not in row_of(viewer.get("/dashboard/").content.decode(), "worker-0")


def test_fleet__frozen_past_the_control_plane__is_shown(viewer, make_agent, seen) -> None:
    seen(make_agent(), said={"freeze": True, "bypassed_backends": ["LocalDiskBackend"]})
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert "bypass LocalDiskBackend" in row
    assert "frozen" in row


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        ({"drift": {"configuration": {"a": {"from": 1, "to": 2}}}}, "1 differs drift: a"),
        ({"drift": {"modes": {"freeze": {"from": False, "to": True}}}}, "1 drift: freeze"),
        (
            {"drift": {"configuration": {"a": {}, "b": {}}}, "gave_up_at": timezone.now()},
            "1 differs drift, repairs ended",
        ),
        ({"drift": {"configuration": {"a": {}}, "modes": {"freeze": {}}}}, "drift: 2 settings"),
        ({"verified_hash": "another"}, "1 ?"),
        ({"verified_revision": 7}, "1 has 7"),
    ],
)
def test_fleet__not_as_it_should_be__row_says_how(viewer, make_agent, seen, notes, text) -> None:
    seen(make_agent(), **notes)
    assert text in row_of(viewer.get("/dashboard/").content.decode(), "worker-0")


def test_fleet__lmcache_process__is_told_apart(viewer, make_agent, seen) -> None:
    said = {"versions": {"lmcache": "0.3.9"}, "storage": {}, "counters": {}}
    seen(make_agent(dialect=Dialect.LMCACHE), said=said)
    row = row_of(viewer.get("/dashboard/").content.decode(), "worker-0")
    assert "tiny-model LMCache 0.3.9" in row


def test_fleet__health__is_counted_and_leads_to_a_filter(viewer, make_agent, seen) -> None:
    gone = seen(make_agent())
    gone.health = Health.OFFLINE
    gone.save()
    left = seen(make_agent("worker-1", worker_id=1))
    left.left_at = timezone.now()
    left.save()
    page = viewer.get("/dashboard/").content.decode()
    assert "1 offline" in page
    assert "1 left" in page
    assert "0 online" in page
    assert shown(viewer.get("/dashboard/?health=offline").content.decode()) == ["worker-0"]


@pytest.fixture
def three(make_agent, seen) -> None:
    seen(make_agent("a-scheduler", role=Role.SCHEDULER, engine="engine-a"))
    seen(make_agent("a-worker", engine="engine-a"))
    worker = seen(make_agent("b-worker", engine="engine-b"))
    worker.labels = {"zone": "b", "the zone": 'b, "c"', "note": ""}
    worker.save()
    Engine.objects.filter(name="engine-a").update(labels={"zone": "a", "rack": "3"})
    turn("b-worker", Switch(Mode.FREEZE), value=True, minutes=5)


@pytest.mark.parametrize(
    ("query", "agents"),
    [
        ("", ["a-scheduler", "a-worker", "b-worker"]),
        ("engine=engine-b", ["b-worker"]),
        ("role=worker", ["a-worker", "b-worker"]),
        ("role=worker&engine=engine-a", ["a-worker"]),
        ("label=zone%3Da", ["a-scheduler", "a-worker"]),
        ("label=zone%3Da,rack%3D3", ["a-scheduler", "a-worker"]),
        ("label=zone", ["a-scheduler", "a-worker", "b-worker"]),
        ("label=zone%3Dc", []),
        ("label=%22zone%22%3D%22a%22", ["a-scheduler", "a-worker"]),
        ("label=%22the+zone%22%3D%22b,+%22%22c%22%22%22", ["b-worker"]),
        ("label=zone%3Db,%22the+zone%22", ["b-worker"]),
        ("label=note%3D%22%22", ["b-worker"]),
        ("q=B-WORK", ["b-worker"]),
        ("q=tiny+rack%3D3", ["a-scheduler", "a-worker"]),
        ("state=frozen", ["b-worker"]),
        ("state=temporary", ["b-worker"]),
        ("state=drift", []),
        ("health=online", ["a-scheduler", "a-worker", "b-worker"]),
    ],
)
def test_filter__in_the_address__leaves_those_that_fit(viewer, three, query, agents) -> None:
    page = viewer.get(f"/dashboard/?{query}")
    assert page.status_code == 200
    assert shown(page.content.decode()) == agents


@pytest.mark.parametrize("text", ["zone=b", 'the zone=b, "c"', "note="])
def test_label__clicked__leaves_those_that_have_it_too(viewer, three, text) -> None:
    page = viewer.get("/dashboard/?role=worker&label=zone").content.decode()
    chips = re.findall(r'<a class="label" href="([^"]*)">([^<]*)</a>', page)
    links = {unescape(name): unescape(address) for address, name in chips}
    assert "role=worker" in links[text]
    assert shown(viewer.get(f"/dashboard/{links[text]}").content.decode()) == ["b-worker"]
    # What was asked for before is still asked for.
    assert shown(viewer.get(f"/dashboard/{links['rack=3']}").content.decode()) == ["a-worker"]


def test_engine__clicked__leaves_its_agents_of_those_that_were_shown(viewer, three) -> None:
    page = viewer.get("/dashboard/?role=worker").content.decode()
    link = re.search(r'<a class="engine" href="([^"]*)">engine-a</a>', page)
    assert shown(viewer.get(f"/dashboard/{unescape(link[1])}").content.decode()) == ["a-worker"]


def test_filter__nobody_fits__says_so_and_shows_a_way_back(viewer, three) -> None:
    page = viewer.get("/dashboard/?q=nobody").content.decode()
    assert "No agent fits" in page
    assert "show all agents" in page


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("role=cook", "role: Select a valid choice"),
        ("label=%3Da", "label: &#x27;=a&#x27; is no label; write zone=a"),
        ("label=zone%3D%22a", "is no label; write zone=a"),
        ("label=zone%3D%22a%22b", "is no label; write zone=a"),
    ],
)
def test_filter__cannot_be_read__400_naming_the_field(viewer, three, query, text) -> None:
    page = viewer.get(f"/dashboard/?{query}")
    assert page.status_code == 400
    assert text in page.content.decode()
    assert shown(page.content.decode()) == []


def test_fleet__asked_for_by_htmx__is_the_table_alone(viewer, three) -> None:
    part = viewer.get("/dashboard/?role=worker", headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<section id="fleet"')
    assert 'hx-get="/dashboard/?role=worker"' in part
    assert shown(part) == ["a-worker", "b-worker"]


def test_fleet__empty__tells_a_newcomer_what_to_do(viewer, admin) -> None:
    page = viewer.get("/dashboard/").content.decode()
    assert "No agents yet" in page
    assert "KVPLANE_CONTROLPLANE_URL=http://testserver" in page
    assert "ask an admin for one" in page
    assert "/admin/fleet/enrolmenttoken/" in admin.get("/dashboard/").content.decode()


@pytest.mark.parametrize("count", [1, 30])
def test_fleet__queries__are_a_handful_whatever_the_number_of_agents(
    viewer, make_agent, seen, count
) -> None:
    for number in range(count):
        seen(make_agent(f"worker-{number}", worker_id=number, engine=f"engine-{number % 3}"))
        turn(f"worker-{number}", Switch(Mode.FREEZE), value=True)
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get("/dashboard/").status_code == 200
    # Session and user, engines, agents, modes, revisions, chain, cursor.
    assert len(captured) == 8
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get("/dashboard/", headers={"HX-Request": "true"}).status_code == 200
    assert len(captured) == 6


def test_fleet__something_happens_while_it_is_read__comes_after_its_cursor(
    viewer, make_agent
) -> None:
    make_agent()
    written = []

    def meanwhile(execute, sql, params, many, context):
        if not written and 'FROM "fleet_agent"' in sql:
            written.append(record(action="agent.online", actor=ACTOR, request_id="req-2"))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(meanwhile):
        page = viewer.get("/dashboard/").content.decode()

    found = re.search(r'data-cursor="(\d+)"', page)
    assert found is not None
    assert int(found[1]) < written[0].pk
