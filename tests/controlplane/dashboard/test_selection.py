"""What is selected on the fleet page, on its way to the page that asks about it and back."""

import re
from urllib.parse import quote

import pytest
from django.test import Client

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.dashboard.selections import KEPT
from controlplane.operations.models import Operation

from .pages import text_of

pytestmark = pytest.mark.django_db

SELECT = "/dashboard/fleet/select/"
MAX_ADDRESS = 2_000
"""Shorter than any server's or browser's limit."""


@pytest.fixture
def four(make_agent) -> None:
    for number in range(4):
        make_agent(f"worker-{number}", worker_id=number, engine=f"engine-{number % 2}")


def select(browser, *agents: str, filters: str = ""):
    form = {"action": "freeze.enable", "agent": agents, "filters": filters}
    return browser.post(SELECT, form)


def checked(answer) -> list[str]:
    boxes = re.findall(r'<input type="checkbox" name="agent" [^>]*>', answer.content.decode())
    return [re.search(r'value="([^"]+)"', box)[1] for box in boxes if " checked" in box]


def cancel_of(answer) -> str:
    found = re.search(r'<a href="([^"]*)">Cancel</a>', answer.content.decode())
    return found[1].replace("&amp;", "&")


def test_select__many_with_long_names__are_asked_about_at_a_short_address(
    operator, make_agent
) -> None:
    names = [f"worker-{number:03}-{'x' * 110}" for number in range(100)]
    for number, name in enumerate(names):
        make_agent(name, worker_id=number)
    answer = select(operator, *names)
    assert answer.status_code == 302
    assert len(answer["Location"]) < MAX_ADDRESS
    page = operator.get(answer["Location"])
    assert "Freeze: 100 agents" in text_of(page)
    assert text_of(operator.get(answer["Location"])) == text_of(page)


def test_select__more_than_a_thousand__is_no_limit(make_user) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(make_user(UserRole.OPERATOR))
    page = browser.get("/dashboard/").content.decode()
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
    names = [f"worker-{number}" for number in range(5_000)]
    form = {"csrfmiddlewaretoken": token, "action": "freeze.enable", "agent": names}
    answer = browser.post(SELECT, form)
    assert answer.status_code == 302
    assert "worker-4999" in text_of(browser.get(answer["Location"]))


def test_select__anything__changes_nothing_and_is_no_change_on_record(operator, four) -> None:
    before = AuditEntry.objects.count()
    select(operator, "worker-0")
    assert not Operation.objects.exists()
    assert AuditEntry.objects.count() == before


def test_select__viewer__403(viewer, four) -> None:
    assert select(viewer, "worker-0").status_code == 403


def test_select__unknown_action__400_naming_the_choice(operator, four) -> None:
    answer = operator.post(SELECT, {"action": "dance", "agent": "worker-0"})
    assert answer.status_code == 400
    assert "freeze.enable" in text_of(answer)


def test_select__opened_as_an_address__404(operator) -> None:
    assert operator.get(SELECT).status_code == 404


def test_cancel__selected_with_filters__both_are_there_again(operator, four) -> None:
    filters = "engine=engine-1&q=worker"
    asked = operator.get(select(operator, "worker-1", filters=filters)["Location"])
    page = operator.get(cancel_of(asked))
    assert checked(page) == ["worker-1"]
    assert "worker-3" in text_of(page)
    assert "worker-0" not in text_of(page)
    assert 'name="filters" value="engine=engine-1&amp;q=worker" form="selection"' in (
        page.content.decode()
    )


def test_cancel__form_was_wrong_before__both_are_there_again(operator, four) -> None:
    place = select(operator, "worker-1", filters="engine=engine-1")["Location"]
    selection = re.search(r"selection=([\w-]+)", place)[1]
    form = {"action": "freeze.enable", "agents": "worker-1", "selection": selection}
    asked = operator.post("/dashboard/fleet/confirm/", form)
    assert asked.status_code == 400
    page = operator.get(cancel_of(asked))
    assert checked(page) == ["worker-1"]
    assert "worker-0" not in text_of(page)


def test_cancel__question_of_an_agents_page__leads_back_there(operator, four) -> None:
    asked = operator.get("/dashboard/fleet/confirm/?action=freeze.enable&agent=worker-1")
    assert cancel_of(asked) == "/dashboard/agents/worker-1/"


@pytest.mark.parametrize("filters", ["//evil.example", "https://evil.example/?q=1", "\r\nX: y"])
def test_cancel__filters_are_no_query__leads_into_the_fleet(operator, four, filters) -> None:
    asked = operator.get(select(operator, "worker-1", filters=filters)["Location"])
    assert cancel_of(asked).startswith("/dashboard/?")
    assert operator.get(cancel_of(asked)).status_code == 200


def test_selection__of_somebody_else__is_nobody(operator, admin, four) -> None:
    place = select(admin, "worker-0")["Location"]
    assert "No agent was selected." in text_of(operator.get(place))


def test_selection__many_newer_ones__is_not_kept_for_ever(operator, four) -> None:
    first = select(operator, "worker-0")["Location"]
    for _ in range(KEPT - 1):
        select(operator, "worker-1")
    assert "Freeze: 1 agent" in text_of(operator.get(first))
    select(operator, "worker-1")
    assert "No agent was selected." in text_of(operator.get(first))


def test_selection__many_large_ones__no_more_names_are_kept_than_of_one(operator) -> None:
    names = [f"worker-{number}" for number in range(6_000)]
    for _ in range(KEPT):
        select(operator, *names)
    select(operator, "worker-0")
    kept = operator.session["dashboard_selections"].values()
    assert [len(selection["agents"]) for selection in kept] == [6_000, 1]


def test_selection__confirmed__is_kept_no_longer(operator, fleet, runner) -> None:
    fleet()
    other = select(operator, "worker-0")["Location"]
    place = select(operator, "worker-0")["Location"]
    selection = re.search(r"selection=([\w-]+)", place)[1]
    page = operator.get(place).content.decode()
    key = re.search(r'name="key" value="(\w+)"', page)[1]
    form = {"action": "freeze.enable", "agents": "worker-0", "selection": selection}
    answer = operator.post("/dashboard/fleet/confirm/", {**form, "reason": "x", "key": key})
    assert answer.status_code == 302
    assert [*operator.session["dashboard_selections"]] == [
        re.search(r"selection=([\w-]+)", other)[1]
    ]


def test_select__filters_without_end__are_not_kept(operator, four) -> None:
    asked = operator.get(select(operator, "worker-1", filters=f"q={'x' * 2_000}")["Location"])
    assert cancel_of(asked).startswith("/dashboard/?selection=")


def test_summary__other_filters_are_set__stay(operator, four) -> None:
    page = operator.get(f"/dashboard/?engine=engine-1&label={quote('a=b')}&selection=x")
    links = re.findall(r'<a href="([^"]*)"><span class="badge', page.content.decode())
    assert links
    for link in links:
        assert "engine=engine-1" in link
        assert "label=a%3Db" in link
        assert "selection" not in link


def test_fleet__agent_named_all__ids_are_there_once(operator, make_agent) -> None:
    make_agent("all")
    ids = re.findall(r' id="([^"]+)"', operator.get("/dashboard/").content.decode())
    assert len(ids) == len(set(ids))
