"""Charts of tiers: on the statistics page, and on an agent's own."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controlplane.fleet.models import Dialect
from controlplane.modes.models import ModeChange
from controlplane.statistics.models import TierStatisticsSnapshot
from engine.contract import Role
from tests.controlplane.statistics.samples import Reporter, at
from tests.controlplane.statistics.tier_samples import DISK, MEMORY, TierReporter, tier

from .pages import chart_of, colors_of, lines_of, marks_at, text_of, titles_of

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = "last=3600&until=2026-03-02T13:00:00&bucket=900"
"""From noon, in four steps."""
CHARTS = "/dashboard/agents/worker-0/charts/"
REMOTE = "RemoteBackend"


@pytest.fixture
def reporter(make_agent) -> TierReporter:
    return TierReporter(make_agent("worker-0", engine="engine-a"))


@pytest.fixture
def told(reporter) -> TierReporter:
    """What two tiers had in the first step, none in the second, a restart in the fourth."""
    reporter.says(1, {MEMORY: tier(0, 0), DISK: tier(0, 0)})
    reporter.says(800, {MEMORY: tier(1_000, 600), DISK: tier(400, 100)})
    reporter.says(2_000, {MEMORY: tier(2_000, 1_400), DISK: tier(600, 300)})
    reporter.boot_id = "boot-2"
    reporter.says(2_800, {MEMORY: tier(10, 1), DISK: tier(0, 0)})
    return reporter


@pytest.fixture
def recent(reporter) -> TierReporter:
    """What it told in the last minutes, of three tiers."""
    now = (timezone.now() - at(0)).total_seconds()
    for minutes, share in ((30, 0), (20, 1), (5, 3)):
        reporter.says(
            now - 60 * minutes,
            {
                MEMORY: tier(100 * share, 50 * share, 3),
                DISK: tier(50 * share, 40 * share, 7),
                REMOTE: tier(10 * share, 1 * share, 9, capacity=0),
            },
            requested_tokens=100 * share,
            retrieved_tokens=91 * share,
            stored_tokens=30 * share,
        )
    return reporter


def test_statistics__engine_with_tiers_that_counts_no_chunks__has_their_chart_and_a_hint(
    viewer, told
) -> None:
    page = viewer.get(f"/dashboard/statistics/?of=engine/engine-a&{HOUR}")
    text = text_of(page)
    assert titles_of(page) == ["Hit rate by tier LocalCPUBackend LocalDiskBackend"]
    assert "Hit rate of LocalCPUBackend 69.7 % Hit rate of LocalDiskBackend 50.0 %" in text
    assert "Reuse rate" not in text
    assert "No chunks were counted of engine-a" in text
    assert "enable_chunk_statistics" in text


def test_statistics__counts_chunks_only__has_their_charts_and_nothing_of_tiers(
    viewer, make_agent
) -> None:
    scheduler = Reporter(make_agent("scheduler", role=Role.SCHEDULER))
    scheduler.says(1, 0)
    scheduler.says(800, 40, 60)
    page = viewer.get(f"/dashboard/statistics/?of=engine/engine-a&{HOUR}")
    assert [title.split()[0] for title in titles_of(page)] == ["Reuse", "Chunks"]
    assert "Hit rate" not in text_of(page)
    assert "how to count them" not in text_of(page)


def test_statistics__both__stand_on_one_axis_with_the_same_moments(viewer, told) -> None:
    chunks = Reporter(told.agent, boot_id="boot-1")
    chunks.says(100, 10)
    chunks.says(700, 20)
    chunks.boot_id = "boot-2"
    chunks.says(2_800, 10)
    page = viewer.get(f"/dashboard/statistics/?of=agent/worker-0&{HOUR}")
    titles = [title.partition(" Local")[0].partition(" reuse")[0] for title in titles_of(page)]
    chunks_title = "Chunks all that were looked up seen for the first time"
    assert titles == ["Reuse rate", chunks_title, "Hit rate by tier"]
    # The restart is one moment, though both kinds of counts began anew.
    marks = [
        marks_at(chart_of(page, title), "run")
        for title in ("Reuse rate", "Chunks", "Hit rate by tier")
    ]
    assert len(marks[0]) == 1
    assert marks[0] == marks[1] == marks[2]
    assert "1 counts began anew 2026-03-02 12:46:40" in text_of(page)
    row = "2026-03-02 12:00:00 0.0 % 10 10 60.0 % of 1,000 25.0 % of 400"
    assert row in text_of(page)


def test_statistics__nobody_is_named__newest_of_either_kind_is_shown(viewer, told) -> None:
    page = viewer.get(f"/dashboard/statistics/?{HOUR}")
    assert titles_of(page)[0].startswith("Hit rate by tier")


def test_statistics__workers__can_be_chosen(viewer, told) -> None:
    page = viewer.get(f"/dashboard/statistics/?{HOUR}").content.decode()
    assert '<option value="agent/worker-0">worker-0</option>' in page


def test_chart__hit_rates__are_interrupted_at_gaps_and_where_counts_began_anew(
    viewer, told
) -> None:
    page = viewer.get(f"/dashboard/statistics/?of=agent/worker-0&{HOUR}")
    memory_1, memory_2, memory_3, disk_1, disk_2 = lines_of(chart_of(page, "Hit rate by tier"))
    step = memory_1[1][0] - memory_1[0][0]
    # Nothing is known of the second step.
    assert memory_2[0][0] - memory_1[-1][0] == pytest.approx(step)
    # They touch in time, but nothing leads from the one to the other.
    assert memory_2[-1][0] == memory_3[0][0]
    assert memory_2[-1][1] != memory_3[0][1]
    # 60 % and 80 % of the height; the disk 25 % and 100 %; in the fourth it was not asked.
    bottom_to_top = (memory_1[0][1] - memory_2[0][1]) / 20 * 100
    assert disk_1[0][1] - disk_2[0][1] == pytest.approx(bottom_to_top * 0.75, rel=0.01)
    assert disk_2[-1][0] < memory_3[-1][0]
    assert "1 of them is a gap in what tiers told" in text_of(page)


def test_chart__one_tier_is_not_there__the_others_keep_their_colours(viewer, reporter) -> None:
    for seconds, asked in ((1, 0), (800, 10)):
        reporter.says(seconds, {REMOTE: tier(asked, asked), MEMORY: tier(asked, 0)})
    page = viewer.get(f"/dashboard/statistics/?of=agent/worker-0&{HOUR}")
    assert colors_of(chart_of(page, "Hit rate by tier"))[:2] == ["color-2", "color-4"]
    assert 'class="key color-4" aria-hidden="true"></span>RemoteBackend' in page.content.decode()


def test_agent__page__loads_its_charts_afterwards(viewer, recent) -> None:
    page = viewer.get("/dashboard/agents/worker-0/").content.decode()
    assert "<figure" not in page
    assert f'hx-get="{CHARTS}" hx-trigger="load, ' in page
    # Whoever has no JavaScript follows the link.
    assert f'<a href="{CHARTS}">' in page


def test_agent_charts__worker__has_rates_bytes_and_tokens_with_the_moments(viewer, recent) -> None:
    ModeChange.objects.create(
        agent="worker-0",
        mode="bypass",
        backend=REMOTE,
        to_value=True,
        state="applied",
        source="change",
        request_id="r",
        actor_kind="user",
        actor_name="anna",
        actor_ref="user:1",
        reason="slow network",
        created_at=timezone.now() - timedelta(minutes=10),
    )
    page = viewer.get(f"{CHARTS}?last=3600")
    text = text_of(page)
    tiers = "LocalCPUBackend LocalDiskBackend RemoteBackend"
    assert titles_of(page) == [
        f"Hit rate by tier {tiers}",
        f"Bytes used by tier {tiers}",
        "Tokens asked for retrieved newly stored",
    ]
    for title in ("Hit rate by tier", "Bytes used by tier", "Tokens"):
        assert len(marks_at(chart_of(page, title), "mode")) == 1
    assert "1 bypass RemoteBackend on" in text
    assert "slow network" in text
    assert "50.0 % of 200 80.0 % of 100 10.0 % of 20 3.0 KiB 7.0 KiB 9.0 KiB 200 182 60" in text
    svg = chart_of(page, "Tokens")
    assert "style=" not in svg
    assert 'aria-hidden="true"' in svg


def test_agent_charts__tier_that_does_not_tell_its_bytes__is_not_drawn_as_empty(
    viewer, reporter
) -> None:
    now = (timezone.now() - at(0)).total_seconds()
    silent = {**tier(10, 1, 9, capacity=0), "used_bytes": 0}
    reporter.says(now - 300, {MEMORY: tier(100, 50, 3), REMOTE: silent})

    page = viewer.get(f"{CHARTS}?last=3600")

    assert "Bytes used by tier LocalCPUBackend" in titles_of(page)
    assert "3.0 KiB — " in text_of(page)


def test_agent_charts__part__is_the_section_alone_and_refreshes_itself_alone(
    viewer, recent
) -> None:
    part = viewer.get(f"{CHARTS}?last=604800", headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<section id="agent-charts"')
    assert f'hx-get="{CHARTS}?last=604800" hx-trigger="kvp:refresh consume"' in part
    assert part.count('aria-current="true"') == 1
    assert 'id="last-604800"' in part.partition('aria-current="true"')[0][-400:]


def test_agent_charts__scheduler_that_counts__has_its_chunks(viewer, make_agent) -> None:
    scheduler = Reporter(make_agent("worker-0", role=Role.SCHEDULER))
    now = (timezone.now() - at(0)).total_seconds()
    scheduler.says(now - 1_000, 0)
    scheduler.says(now - 100, 4, 6)
    page = viewer.get(CHARTS)
    assert [title.split()[0] for title in titles_of(page)] == ["Reuse", "Chunks"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "once the control loop has seen it"),
        ({"role": Role.SCHEDULER}, "enable_chunk_statistics"),
        ({"dialect": Dialect.LMCACHE}, "An LMCache process does not say what its tiers had"),
    ],
)
def test_agent_charts__nothing_yet__says_what_comes_when(viewer, make_agent, options, text) -> None:
    make_agent("worker-0", **options)
    page = viewer.get(CHARTS)
    assert page.status_code == 200
    assert titles_of(page) == []
    assert text in text_of(page)


@pytest.mark.parametrize(
    ("path", "status"),
    [(f"{CHARTS}?last=5", 400), (f"{CHARTS}?last=x", 400), (f"{CHARTS}?last=", 200)],
)
def test_agent_charts__time_that_is_none__400_naming_it(viewer, recent, path, status) -> None:
    page = viewer.get(path)
    assert page.status_code == status
    assert ("last: Select a valid choice" in text_of(page)) == (status == 400)


@pytest.mark.parametrize(("interval", "step"), [(60.0, "120"), (10.0, "120"), (600.0, "900")])
def test_agent_charts__snapshots_are_taken_seldom__a_step_is_longer_than_from_one_to_the_next(
    viewer, recent, settings, interval, step
) -> None:
    settings.KVPLANE_STATISTICS_SECONDS = interval
    assert f"in steps of {step} s" in text_of(viewer.get(f"{CHARTS}?last=3600"))


def test_agent_charts__unknown_agent__404_page(viewer) -> None:
    page = viewer.get("/dashboard/agents/nobody/charts/")
    assert page.status_code == 404
    assert "There is no agent &#x27;nobody&#x27;" in text_of(page)


def test_agent_charts__queries__are_a_handful_however_many_snapshots(viewer, recent) -> None:
    row = TierStatisticsSnapshot.objects.latest("id")
    TierStatisticsSnapshot.objects.bulk_create(
        TierStatisticsSnapshot(
            agent=row.agent,
            engine=row.engine,
            taken_at=row.taken_at + timedelta(milliseconds=number),
            trigger=row.trigger,
            boot_id=row.boot_id,
            run=row.run,
            tiers=row.tiers,
        )
        for number in range(500)
    )
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get(CHARTS, headers={"HX-Request": "true"}).status_code == 200
    # Session and user, agent, two for each series, whether an agent without chunks is known,
    # three for the moments.
    assert len(captured) == 11
