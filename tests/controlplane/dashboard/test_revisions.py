"""The list of revisions, how two differ, and going back."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.configuration.models import ConfigRevision
from controlplane.forwarding.transport import NotSent
from controlplane.operations.models import Operation
from controlplane.operations.services import perform
from engine.contract import endpoint

from ..conftest import ACTOR

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "3" * 32


def text_of(answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.content.decode()).split())


@pytest.fixture
def three(fleet):
    """An agent with three revisions: as it was found, 64, 256."""
    agent, simulated = fleet()
    for number in (64, 256):
        perform(
            endpoint("update_conf"),
            [agent],
            query="",
            body=f'{{"min_retrieve_tokens": {number}}}'.encode(),
            actor=ACTOR,
            reason=f"to {number}",
            request_id="req-1",
            timeout=5,
        )
    rows = ConfigRevision.objects.filter(agent="worker-0").order_by("number")
    return simulated, [row.pk for row in rows]


def test_list__nothing_yet__says_what_makes_one(viewer) -> None:
    assert "No revisions yet" in text_of(viewer.get("/dashboard/revisions/"))
    assert "No revision fits" in text_of(viewer.get("/dashboard/revisions/?agent=nobody"))


def test_list__three__newest_first_with_what_changed(viewer, three) -> None:
    text = text_of(viewer.get("/dashboard/revisions/?agent=worker-0"))
    assert re.search(
        r"worker-0 3 active change min_retrieve_tokens tests to 256 .*"
        r"worker-0 2 superseded change min_retrieve_tokens tests to 64 .*"
        r"worker-0 1 superseded import as it was found",
        text,
    )


def test_refused_as_a_whole__list_and_page__say_so_and_why(viewer, fleet) -> None:
    agent, simulated = fleet()

    def unreachable(method: str, path: str) -> None:
        if method == "POST":
            raise NotSent("connection refused")

    simulated.before = unreachable
    perform(
        endpoint("update_conf"),
        [agent],
        query="",
        body=b'{"min_retrieve_tokens": 1}',
        actor=ACTOR,
        reason="",
        request_id="req-1",
        timeout=5,
    )
    refused = ConfigRevision.objects.get(agent="worker-0", state="failed")
    assert "failed change min_retrieve_tokens not taken" in text_of(
        viewer.get("/dashboard/revisions/")
    )
    page = text_of(viewer.get(f"/dashboard/revisions/{refused.pk}/"))
    assert "Not taken: Cannot connect to agent" in page


def test_list__bad_filter__400_naming_it(viewer) -> None:
    page = viewer.get("/dashboard/revisions/?state=odd")
    assert page.status_code == 400
    assert "state: Select a valid choice" in text_of(page)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "Key Revision 2 Revision 3 min_retrieve_tokens 64 256"),
        ("?against=2", "min_retrieve_tokens 64 256"),
        ("?against=1", "min_retrieve_tokens 0 256"),
        ("?against=3", "The two revisions do not differ."),
    ],
)
def test_revision__against_any_other__shows_what_differs(viewer, three, query, text) -> None:
    _, (_, _, last) = three
    assert text in text_of(viewer.get(f"/dashboard/revisions/{last}/{query}"))


def value_of(page, name: str) -> str:
    """What stands in the input of that name."""
    found = re.search(rf'name="{name}" value="([^"]*)"', page.content.decode())
    assert found is not None
    return found[1]


def test_revision__of_more_than_a_hundred__any_can_be_chosen_and_the_chosen_one_is_told(
    viewer, three
) -> None:
    _, (first, second, _) = three
    last = ConfigRevision.objects.get(agent="worker-0", number=3)
    for number in range(4, 112):
        last.pk, last.number, last.state = None, number, "superseded"
        last.save()
    page = viewer.get(f"/dashboard/revisions/{second}/")
    assert (value_of(page, "against"), value_of(page, "of")) == ("1", "worker-0")
    assert "Key Revision 1 Revision 2" in text_of(page)
    page = viewer.get(f"/dashboard/revisions/{first}/?against=111")
    assert value_of(page, "against") == "111"
    assert "Key Revision 111 Revision 1" in text_of(page)
    page = viewer.get(f"/dashboard/revisions/{first}/")
    assert value_of(page, "against") == ""
    assert "Everything that it holds" in text_of(page)


def test_revision__of_another_agent__is_compared_under_both_names(viewer, three, fleet) -> None:
    _, (_, _, last) = three
    agent, _ = fleet("worker-1")
    perform(
        endpoint("update_conf"),
        [agent],
        query="",
        body=b'{"min_retrieve_tokens": 7}',
        actor=ACTOR,
        reason="",
        request_id="req-1",
        timeout=5,
    )
    page = viewer.get(f"/dashboard/revisions/{last}/?of=worker-1")
    assert "worker-1, revision 2 worker-0, revision 3 min_retrieve_tokens 7 256" in text_of(page)
    assert (value_of(page, "against"), value_of(page, "of")) == ("2", "worker-1")
    page = viewer.get(f"/dashboard/revisions/{last}/?of=worker-1&against=1")
    assert "worker-1, revision 1 worker-0, revision 3 min_retrieve_tokens 0 256" in text_of(page)


@pytest.mark.parametrize(
    ("query", "status"), [("?against=x", 400), ("?against=9", 404), ("?of=nobody", 404)]
)
def test_revision__against_nothing__is_an_error_page(viewer, three, query, status) -> None:
    _, (_, _, last) = three
    page = viewer.get(f"/dashboard/revisions/{last}/{query}")
    assert page.status_code == status
    assert page["Content-Type"].startswith("text/html")


def test_restore__preview_then_sent__makes_a_new_revision(operator, three) -> None:
    simulated, (first, _, _) = three
    preview = operator.get(f"/dashboard/revisions/{first}/restore/")
    assert "What is sent Key Now Then min_retrieve_tokens 256 0" in text_of(preview)
    assert 'name="active" value="3"' in preview.content.decode()
    form = {"reason": "too slow", "key": KEY, "active": "3"}
    answer = operator.post(f"/dashboard/revisions/{first}/restore/", form)
    operation = Operation.objects.get(pk=answer["Location"].split("/")[-2])
    assert (operation.state, operation.reason) == ("succeeded", "too slow")
    assert simulated.conf["min_retrieve_tokens"] == 0
    made = ConfigRevision.objects.get(agent="worker-0", state="active")
    assert (made.number, made.restored_from, made.actor_name) == (4, 1, "operator")


def test_restore__another_revision_is_active_meanwhile__says_so(operator, three) -> None:
    simulated, (first, _, _) = three
    form = {"reason": "too slow", "key": KEY, "active": "2"}
    answer = operator.post(f"/dashboard/revisions/{first}/restore/", form, follow=True)
    assert 'class="note error"' in answer.content.decode()
    assert simulated.conf["min_retrieve_tokens"] == 256


def test_restore__agent_does_not_answer__says_so(operator, three) -> None:
    simulated, (first, _, _) = three

    def gone(method: str, path: str) -> None:
        raise NotSent("connection refused")

    simulated.before = gone
    page = operator.get(f"/dashboard/revisions/{first}/restore/")
    assert page.status_code == 502
    assert "worker-0" in text_of(page)


def test_restore__viewer__403_and_no_button(viewer, three) -> None:
    _, (first, _, _) = three
    form = {"reason": "x", "key": KEY, "active": "3"}
    assert viewer.post(f"/dashboard/revisions/{first}/restore/", form).status_code == 403
    assert "Roll back" not in text_of(viewer.get(f"/dashboard/revisions/{first}/"))


def test_pages__queries__are_a_handful(viewer, three) -> None:
    _, (_, _, last) = three
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get("/dashboard/revisions/").status_code == 200
    # Session and user, revisions, chain, cursor.
    assert len(captured) == 5
    with CaptureQueriesContext(connection) as captured:
        assert viewer.get(f"/dashboard/revisions/{last}/").status_code == 200
    # Session and user, both revisions, numbers and agents to choose of, chain, cursor.
    assert len(captured) == 8
