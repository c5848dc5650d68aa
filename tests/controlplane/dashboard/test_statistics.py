"""The statistics page: counts over time, and what was changed on the same axis."""

import html
import re
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.configuration.models import ConfigRevision
from controlplane.dashboard.actions import ACTIONS
from controlplane.modes.models import ModeChange
from controlplane.operations.models import Operation
from controlplane.operations.services import perform
from controlplane.statistics.models import ChunkStatisticsSnapshot, Trigger
from engine.contract import Role, endpoint
from tests.controlplane.statistics.samples import NOON, Reporter, at

from ..conftest import ACTOR
from .pages import chart_of, lines_of, marks_at, text_of

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = "last=3600&until=2026-03-02T13:00:00&bucket=900"
"""From noon, in four steps."""
WHO = {
    "request_id": "req-1",
    "actor_kind": "user",
    "actor_name": "anna",
    "actor_ref": "user:1",
}


@pytest.fixture
def scheduler(make_agent) -> Reporter:
    return Reporter(make_agent("scheduler", role=Role.SCHEDULER, url="http://127.0.0.1:7100"))


@pytest.fixture
def counted(scheduler) -> Reporter:
    """Counts at noon, in the first step, none in the second, a reset in the fourth."""
    scheduler.says(1, 0)
    scheduler.says(800, 40, 60)
    scheduler.says(2_000, 60, 140)
    scheduler.says(2_800, 10, 10, trigger=Trigger.RESET)
    return scheduler


def revision(agent: str, number: int, seconds: float, **more: object) -> ConfigRevision:
    values = {
        "state": "superseded",
        "source": "change",
        "diff": {"min_retrieve_tokens": {"from": 0, "to": 64}},
        "reason": "shorter prompts",
        "created_at": at(seconds),
        "deadline_at": at(seconds),
    }
    return ConfigRevision.objects.create(agent=agent, number=number, **WHO, **{**values, **more})


def mode(agent: str, seconds: float, **more: object) -> ModeChange:
    values = {"mode": "freeze", "to_value": True, "state": "applied", "source": "change"}
    return ModeChange.objects.create(
        agent=agent, created_at=at(seconds), **WHO, **{**values, **more}
    )


def test_nothing_counted__page__says_the_next_step(viewer) -> None:
    page = viewer.get("/dashboard/statistics/")
    assert page.status_code == 200
    assert "Nothing has been counted yet" in text_of(page)
    assert "enable_chunk_statistics" in text_of(page)
    assert f"press “{ACTIONS['chunk_statistics.start'].title}”" in text_of(page)
    assert 'href="/dashboard/?role=scheduler"' in page.content.decode()


def test_page__until_now__is_fetched_anew_by_time_and_a_past_one_is_not(viewer) -> None:
    assert 'data-refresh="60"' in viewer.get("/dashboard/statistics/").content.decode()
    past = viewer.get("/dashboard/statistics/?until=2026-01-01T00:00:00").content.decode()
    assert 'id="statistics"' in past
    assert "data-refresh" not in past


def test_nothing_counted_then__other_time__says_so(viewer, counted) -> None:
    page = viewer.get("/dashboard/statistics/?of=agent/scheduler&until=2026-01-01T00:00:00")
    assert "Nothing was counted of scheduler in this time" in text_of(page)


@pytest.mark.parametrize("of", ["agent/scheduler", "engine/engine-a", ""])
def test_counts__agent_engine_or_whoever_counted_last__are_summed_up(viewer, counted, of) -> None:
    page = viewer.get(f"/dashboard/statistics/?of={of}&{HOUR}")
    text = text_of(page)
    assert "Reuse rate 68.2 % Chunks looked up 220 Unique chunks 70" in text
    assert "2026-03-02 12:45:00 50.0 % 20 10" in text
    assert "2026-03-02 12:30:00 80.0 % 100 20" in text
    assert "2026-03-02 12:00:00 60.0 % 100 40" in text


@pytest.mark.parametrize("of", ["agent/gone", "engine/gone"])
def test_counts__agent_and_engine_are_gone__can_still_be_chosen(viewer, counted, of) -> None:
    ChunkStatisticsSnapshot.objects.update(agent="gone", engine="gone")
    page = viewer.get(f"/dashboard/statistics/?of={of}&{HOUR}")
    assert f'<option value="{of}" selected>gone</option>' in page.content.decode()
    assert "Chunks looked up 220" in text_of(page)


def test_chart__step_without_a_snapshot__is_a_gap_and_not_zero(viewer, counted) -> None:
    page = viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}")
    before, after, _ = lines_of(chart_of(page, "Reuse rate"))
    step = before[1][0] - before[0][0]
    assert after[0][0] - before[-1][0] == pytest.approx(step)
    # 60 % and 80 % of the height, and nowhere is the line at the bottom.
    assert before[0][1] == before[1][1] > after[0][1] == after[1][1]
    assert "1 of them is a gap" in text_of(page)
    assert "2026-03-02 12:15:00" not in text_of(page)


def test_chart__counts_began_anew__line_begins_anew_at_a_mark(viewer, counted) -> None:
    page = viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}")
    _, before, after = lines_of(chart_of(page, "Reuse rate"))
    # Nothing leads from the one to the other, though they touch in time.
    assert before[-1][0] == after[0][0]
    assert before[-1][1] != after[0][1]
    (mark,) = marks_at(chart_of(page, "Reuse rate"), "run")
    assert after[0][0] < mark < after[1][0]
    assert "1 counts began anew 2026-03-02 12:46:40 run scheduler" in text_of(page)


def test_moments__config_mode_clear__stand_on_the_axis_and_in_the_table(viewer, counted) -> None:
    changed = revision("scheduler", 2, 300)
    mode("scheduler", 900, mode="bypass", backend="FSBackend", reason="slow disk")
    cleared = Operation.objects.create(
        action="cache.clear",
        endpoint="clear_cache",
        state="succeeded",
        created_at=at(1_800),
        reason="new model",
        **WHO,
    )
    cleared.targets.create(agent="scheduler", state="succeeded")
    page = viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}")
    assert (
        "3 cache cleared 2026-03-02 12:30:00 clear 1 agent new model "
        "2 bypass FSBackend on 2026-03-02 12:15:00 mode scheduler slow disk "
        "1 config min_retrieve_tokens 2026-03-02 12:05:00 config scheduler shorter prompts"
    ) in text_of(page)
    chart = chart_of(page, "Reuse rate")
    (config,), (bypass,), (clear,) = (marks_at(chart, kind) for kind in ("config", "mode", "clear"))
    first, second, _ = lines_of(chart)
    start, step = first[0][0], first[1][0] - first[0][0]
    assert config == pytest.approx(start + step / 3, abs=0.1)
    assert bypass == pytest.approx(start + step, abs=0.1)
    assert clear == pytest.approx(second[0][0], abs=0.1)
    for href in (f"/dashboard/revisions/{changed.pk}/", f"/dashboard/operations/{cleared.pk}/"):
        # On both charts in both sizes, line and text; and in the table.
        assert page.content.decode().count(f'href="{href}"') == 9
    assert chart.count('tabindex="-1"') == chart.count("<a ")


def test_moments__what_changed_nothing_or_is_of_others__is_left_out(viewer, counted) -> None:
    revision("scheduler", 1, 300, source="import")
    revision("scheduler", 2, 300, state="failed")
    revision("elsewhere", 1, 300)
    revision("scheduler", 3, -7_200)
    mode("scheduler", 300, state="failed")
    mode("scheduler", 300, source="import")
    page = viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}")
    assert re.findall(r"mark-(\w+)", page.content.decode()) == ["run"] * 8


def test_moments__one_operation_on_two_agents__is_one(viewer, counted, make_agent) -> None:
    operation = uuid.uuid4()
    for number in range(2):
        make_agent(f"worker-{number}", worker_id=number, url=f"http://127.0.0.1:{7000 + number}")
        revision(f"worker-{number}", 1, 300 + number, operation_id=operation)
    text = text_of(page := viewer.get(f"/dashboard/statistics/?of=engine/engine-a&{HOUR}"))
    assert "1 config min_retrieve_tokens 2026-03-02 12:05:00 config 2 agents" in text
    assert f"/dashboard/operations/{operation}/" in page.content.decode()
    assert "min_retrieve_tokens" not in text_of(
        viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}")
    )


def test_moments__many_configurations__are_few_and_hide_no_mode(viewer, counted) -> None:
    mode("scheduler", 10, reason="the first thing")
    for number in range(108):
        revision("scheduler", number + 2, 60 + number)
    page = viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}")
    text = text_of(page)
    assert "freeze on 2026-03-02 12:00:10 mode scheduler the first thing" in text
    burst = re.search(r'href="([^"]+)">\d+ (\d+) changes', page.content.decode())
    assert burst is not None
    listed = viewer.get(burst[1].replace("&amp;", "&")).content.decode()
    assert listed.count('id="revision-') == min(int(burst[2]), 50)
    assert "changes of the configuration" in text
    counts = re.findall(r"(\d+) changes of the configuration", text.partition("meanwhile")[2])
    assert sum(map(int, counts)) == 108
    assert "not shown" not in text


def test_moments__too_many_of_what_hides_nothing__says_how_many_are_left_out(
    viewer, counted
) -> None:
    for number in range(104):
        mode("scheduler", 60 + number, reason=f"number {number}.")
    for number in range(3):
        revision("scheduler", number + 2, 600 * number)
    text = text_of(viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}"))
    assert "number 103." in text
    assert "number 0." not in text
    # 104 modes, three configurations, and counts that began anew.
    assert re.search(r"\b8 other changes are not shown; choose a shorter time", text)


def test_moments__more_of_what_hides_nothing_than_are_shown__configurations_have_a_quarter(
    viewer, counted
) -> None:
    for number in range(110):
        mode("scheduler", 300 + number)
    for number in range(50):
        # One in each slice of the time, the first before and the last after all modes.
        revision("scheduler", number + 2, 72 * number + 1, reason=f"number {number}.")
    text = text_of(viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}"))
    shown = re.findall(r"config scheduler number (\d+)\.", text.partition("meanwhile")[2])
    assert [int(number) for number in shown] == [*range(49, 24, -1)]
    # 110 modes, 50 configurations, and counts that began anew.
    assert "61 other changes are not shown" in text


@pytest.mark.parametrize(
    ("agents", "agent"), [(["scheduler"], "scheduler"), (["scheduler", "b"], "")]
)
def test_moments__configurations_close_together__lead_to_the_list_with_its_fields_filled_in(
    viewer, counted, make_agent, agents, agent
) -> None:
    make_agent("b", url="http://127.0.0.1:7201")
    for number in range(110):
        # All in one slice of the time.
        revision(agents[number % len(agents)], number + 2, 10.5 + number / 2)
    make_agent("elsewhere", engine="engine-b", url="http://127.0.0.1:7202")
    page = viewer.get(f"/dashboard/statistics/?of=engine/engine-a&{HOUR}")
    burst = re.search(r'href="([^"]+)">\d+ 110 changes of the conf', page.content.decode())
    assert burst is not None
    listed = viewer.get(html.unescape(burst[1])).content.decode()
    fields = dict(re.findall(r'<input[^>]* name="(\w+)" value="([^"]*)"', listed))
    assert fields["agent"] == agent
    assert fields["since"] == "2026-03-02T12:00:10"
    assert fields["until"] == "2026-03-02T12:01:06"
    # What the form sends fits the same revisions as the link does.
    sent = viewer.get("/dashboard/revisions/", fields).content.decode()
    assert listed.count('id="revision-') == sent.count('id="revision-') == 50


def test_moments__changes_of_several_agents_at_once__are_of_no_agent_of_that_name(
    viewer, counted, make_agent
) -> None:
    make_agent("b", url="http://127.0.0.1:7201")
    for number in range(55):
        operation = uuid.uuid4()
        for agent in ("scheduler", "b"):
            revision(agent, number + 2, 10 + number, operation_id=operation)
    for number in range(50):
        mode("scheduler", 600 + number)
    page = viewer.get(f"/dashboard/statistics/?of=engine/engine-a&{HOUR}")
    burst = re.search(r'href="([^"]+)">\d+ 55 changes of the conf', page.content.decode())
    assert burst is not None
    assert "agent=" not in burst[1]
    assert "55 changes of the configuration 2026-03-02 12:00:10 config several agents" in (
        text_of(page)
    )


def test_moments__more_than_are_read__are_counted_too(viewer, counted, monkeypatch) -> None:
    monkeypatch.setattr("controlplane.dashboard.moments._MAX_ROWS", 2)
    for number in range(5):
        mode("scheduler", 60 + number)
    text = text_of(viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}"))
    assert "3 other changes are not shown" in text


def test_moments__agent_was_removed_since__are_those_of_its_engine_still(viewer, counted) -> None:
    revision("scheduler", 2, 300)
    counted.agent.delete()
    text = text_of(viewer.get(f"/dashboard/statistics/?of=engine/engine-a&{HOUR}"))
    assert "1 config min_retrieve_tokens 2026-03-02 12:05:00 config scheduler" in text


def test_moments__done_through_the_control_plane__are_marked(viewer, fleet, counted) -> None:
    agent, _ = fleet()
    for name in ("enable_freeze", "clear_cache"):
        perform(
            endpoint(name),
            [agent],
            query="",
            body=None,
            actor=ACTOR,
            reason=f"why {name}",
            request_id="req-1",
            timeout=5,
        )
    Reporter(agent).says(0, 1)
    newest = ChunkStatisticsSnapshot.objects.filter(agent=agent.name)
    newest.update(taken_at=ModeChange.objects.latest("id").created_at - timedelta(seconds=1))
    text = text_of(viewer.get("/dashboard/statistics/?of=agent/worker-0&last=3600"))
    assert re.search(
        r"2 cache cleared .* 1 agent why clear_cache 1 freeze on .* why enable_freeze", text
    )


def test_chart__markup__has_no_style_and_no_script_and_is_escaped(viewer, counted) -> None:
    revision("scheduler", 2, 300, diff={"<b>&": {"from": 0, "to": 1}})
    page = viewer.get(f"/dashboard/statistics/?of=agent/scheduler&{HOUR}")
    svgs = re.findall(r"<svg.*?</svg>", page.content.decode(), re.DOTALL)
    assert len(svgs) == 4
    for svg in svgs:
        assert not re.search(r"<style|<script|style=|<b>|http://(?!www\.w3\.org)", svg)
        assert "config &lt;b&gt;&amp;" in svg
    assert "unsafe" not in page["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("of=scheduler", "of: Write engine/NAME or agent/NAME."),
        ("last=5", "last: Select a valid choice"),
        ("bucket=x", "bucket: Select a valid choice"),
        ("until=soon", "until: Enter a valid date/time."),
        ("until=9999-12-31T23:59:59-23:00", "until: Give a date between 1970 and 9998."),
        ("until=1970-01-01T00:00:00", "until: Give a date between 1970 and 9997."),
        ("last=31536000&bucket=60", "bucket: There would be more than 2,000 steps"),
    ],
)
def test_address__cannot_be_read__400_naming_it(viewer, counted, query, text) -> None:
    page = viewer.get(f"/dashboard/statistics/?{query}")
    assert page.status_code == 400
    assert text in text_of(page)


@pytest.mark.parametrize("query", ["of=agent/nobody", "of=engine/nothing"])
def test_address__asks_for_whom_there_never_was__is_an_error_page(viewer, counted, query) -> None:
    page = viewer.get(f"/dashboard/statistics/?{query}")
    assert page.status_code == 404
    assert page["Content-Type"].startswith("text/html")


def test_more_steps_than_are_shown__page__keeps_what_was_chosen(viewer, counted) -> None:
    page = viewer.get("/dashboard/statistics/?of=agent/scheduler&last=2592000&bucket=60")
    chosen = re.findall(r'<option value="([^"]*)" selected>', page.content.decode())
    assert chosen == ["agent/scheduler", "2592000", "60"]


def test_more_steps_than_are_shown__part__says_so_in_place_of_the_charts(viewer, counted) -> None:
    part = viewer.get(
        "/dashboard/statistics/?last=604800&bucket=300", headers={"HX-Request": "true"}
    )
    assert part.status_code == 200
    assert "bucket: There would be more than 2,000 steps" in text_of(part)
    assert "data-shown" not in part.content.decode()


def refreshed_from(answer) -> str:
    """The address from which the part of the page is fetched anew."""
    section = re.search(r'<section id="statistics"[^>]* hx-get="([^"]*)"', answer.content.decode())
    assert section is not None
    return html.unescape(section[1])


def test_part__nobody_in_particular_was_asked_for__stays_with_whom_it_shows(
    viewer, counted, make_agent
) -> None:
    page = viewer.get(f"/dashboard/statistics/?{HOUR}")
    other = make_agent("other", engine="engine-b", role=Role.SCHEDULER, url="http://127.0.0.1:7200")
    Reporter(other).says(3_000, 1)
    part = viewer.get(refreshed_from(page), headers={"HX-Request": "true"})
    assert "Engine engine-a" in text_of(part)
    assert "Chunks looked up 220" in text_of(part)
    assert refreshed_from(part) == refreshed_from(page)


@pytest.mark.parametrize("query", ["", "?last=3600", "?of=nobody"])
def test_part__shows_nobody__is_fetched_from_the_address_of_the_page(viewer, query) -> None:
    address = f"/dashboard/statistics/{query}"
    assert refreshed_from(viewer.get(address)) == address


def test_part__htmx__is_the_section_alone(viewer, counted) -> None:
    page = viewer.get(f"/dashboard/statistics/?{HOUR}", headers={"HX-Request": "true"})
    assert page.content.decode().lstrip().startswith('<section id="statistics"')


def test_ten_thousand_snapshots__page__asks_the_database_a_handful_of_times(
    viewer, scheduler
) -> None:
    snapshot = scheduler.says(0, 0)
    ChunkStatisticsSnapshot.objects.bulk_create(
        ChunkStatisticsSnapshot(
            agent=snapshot.agent,
            engine=snapshot.engine,
            taken_at=NOON + timedelta(seconds=8 * number),
            reported_at=NOON.timestamp(),
            trigger=Trigger.INTERVAL,
            boot_id="boot-1",
            run=1,
            enabled=True,
            total_requests=number,
            total_chunks=2 * number,
            unique_chunks=number,
            duplicate_chunks=number,
            reuse_rate=0.5,
        )
        for number in range(1, 10_001)
    )
    for number in range(200):
        revision("scheduler", number + 1, 60 * number)
    with CaptureQueriesContext(connection) as captured:
        page = viewer.get("/dashboard/statistics/?of=agent/scheduler&until=2026-03-03T11:00:00")
    # Session and user, fleet, two for each series, whether an agent without tiers is known,
    # three for the moments, chain, cursor.
    assert len(captured) == 13
    assert "Chunks looked up 20,000 Unique chunks 10,000" in text_of(page)
    told = re.findall(
        r"(\d+) changes of the configuration", text_of(page).partition("meanwhile")[2]
    )
    assert sum(map(int, told)) == 200
