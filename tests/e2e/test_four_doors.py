"""Every documented endpoint through the four doors that people use - the generated client,
the browsable API in a browser, the admin's Calls page and the command - to real agents: the
same status, and the same on record."""

import getpass
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Locator, Page

from engine.contract import CATALOGUE, Kind, Parameter
from tests.support.admin_site import USER, Site, browsing, running_site, token_of
from tests.support.every_call import CALLS, REASON, Call
from tests.support.generated_client import make_importable
from tests.support.processes import ROOT

make_importable()

from kvplane_client import AuthenticatedClient  # noqa: E402
from kvplane_client.models import ChunksToLoad, ConfValues  # noqa: E402
from kvplane_client.types import UNSET  # noqa: E402

pytestmark = pytest.mark.slow
BODIES = {"update_conf": ConfValues, "load_fs_chunks": ChunksToLoad}
# What names the door or the moment, and what tells how often somebody asked.
_OF_THE_DOOR = frozenset({"actor_kind", "actor_name", "actor_ref", "source_address", "user_agent"})
_VARIES = frozenset(
    {"answer", "id", "created_at", "request_id", "operation_id", "links"}
    | {"duration_ms", "key_id", "previous", "mac"}
)
_SPELLED = {"format": "format_"}
STAGES = ["completed", "requested"]


@dataclass(frozen=True)
class Answer:
    """What a caller is told, and by what the log finds the call."""

    status: int
    request_id: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def session(site: Site) -> Iterator[httpx.Client]:
    with site.session() as client:
        yield client


@pytest.fixture(scope="module")
def page(site: Site) -> Iterator[Page]:
    with browsing(site) as browser:
        browser.page.set_default_timeout(20_000)
        yield browser.page
        assert browser.troubles.outside == []


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[AuthenticatedClient]:
    with AuthenticatedClient(
        base_url=site.url,
        token=site.token,
        timeout=httpx.Timeout(60),
        raise_on_unexpected_status=True,
        httpx_args={"trust_env": False},
    ) as connected:
        yield connected


@pytest.fixture(scope="module")
def by_command(site: Site) -> dict[str, Any]:
    """What came of each call by its command, one after the other."""
    finished = subprocess.run(
        [sys.executable, "-m", "tests.support.every_command", "scheduler", "worker-0"],
        cwd=ROOT,
        env=site.environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def agent_for(call: Call) -> str:
    return {"worker": "worker-0", "scheduler": "scheduler"}[call.role]


def typed(parameter: Parameter, value: str) -> object:
    if parameter.kind in (Kind.BOOLEAN, Kind.SWITCH):
        return value == "true"
    if parameter.kind is Kind.INTEGER:
        return int(value)
    return [value] if parameter.kind is Kind.STRINGS else value


def call_by_client(client: AuthenticatedClient, call: Call) -> Answer:
    endpoint = call.endpoint
    module = import_module(f"kvplane_client.api.{endpoint.group}.{endpoint.operation_id}_of_agent")
    # It sends defaults too, unless it is told not to, and avoids names that Python has.
    options: dict[str, object] = {
        _SPELLED.get(parameter.name, parameter.name): typed(
            parameter, call.parameters[parameter.name]
        )
        if parameter.name in call.parameters
        else UNSET
        for parameter in endpoint.parameters
    }
    if endpoint.action is not None:
        options["reason"] = REASON
    if call.body is not None:
        options["body"] = BODIES[endpoint.operation_id].from_dict(call.body)
    answer = module.sync_detailed(agent_for(call), client=client, **options)
    return Answer(answer.status_code, answer.headers["X-Request-ID"])


def fill(control: Locator, value: str) -> None:
    if control.evaluate("control => control.tagName") == "SELECT":
        control.select_option(value)
    else:
        control.fill(value)


def fill_in(form: Locator, call: Call) -> None:
    for name, value in call.parameters.items():
        fill(form.locator(f"[data-place=query][name={name}]"), value)
    fields = form.locator("[data-place=body]")
    if call.body is not None and fields.count() == 0:
        form.get_by_label("Body (JSON)").fill(json.dumps(call.body))
    elif call.body is not None:
        for name, value in call.body.items():
            fill(form.locator(f"[data-place=body][name={name}]"), str(value))
    if call.endpoint.action is not None:
        form.get_by_label("reason").fill(REASON)


def call_by_browser(page: Page, site: Site, call: Call) -> Answer:
    """By the form on the endpoint's own page."""
    endpoint = call.endpoint
    page.goto(f"{site.url}/agents/{agent_for(call)}{endpoint.path}")
    form = page.locator(f"#{endpoint.operation_id} form.kvp-call")
    fill_in(form, call)
    button = form.get_by_role("button", name=f"Send {endpoint.method}")
    if endpoint.method == "GET":
        # A form that reads is a link to the page with the answer.
        with page.expect_navigation() as navigation:
            button.click()
        shown = page.locator("#answer h3, .kvp-problem h2").inner_text()
        request_id = navigation.value.header_value("x-request-id")
    else:
        button.click()
        answer = form.locator(".kvp-answer.kvp-good, .kvp-answer.kvp-bad")
        shown = answer.locator("h3").inner_text()
        link = answer.get_by_role("link", name="Audit entries of this request")
        request_id = httpx.URL(link.get_attribute("href")).params["request_id"]
    return Answer(status_in(shown), request_id)


def status_in(shown: str) -> int:
    """Of an answer's heading, or of a problem's."""
    answered = re.search(r"answered (\d+) |\((\d+)\)$", shown)
    assert answered is not None, shown
    return int(answered[1] or answered[2])


def call_by_admin(session: httpx.Client, call: Call) -> Answer:
    endpoint = call.endpoint
    agent = session.get(f"/admin/fleet/agent/named/{agent_for(call)}/").headers["location"]
    path = f"{agent.removesuffix('change/')}call/{endpoint.operation_id}/"
    if endpoint.action is None:
        answer = session.get(path, params={"sent": "1", **call.parameters})
    else:
        fields = {**call.parameters, "reason": REASON, "key": uuid4().hex, **token_of(session)}
        if call.body is not None:
            fields["body"] = json.dumps(call.body)
        answer = session.post(path, data=fields)
    # The page itself has the status of the agent's answer.
    shown = rf"answered {answer.status_code}|<h2>{answer.status_code} "
    assert re.search(shown, answer.text), answer.text
    return Answer(answer.status_code, answer.headers["X-Request-ID"])


def call_by_command(by_command: dict[str, Any], call: Call) -> Answer:
    ran = by_command[call.name]
    (target,) = ran["said"]["targets"]
    assert (ran["exit"] == 0) == (target["status"] == 200)
    assert ("state" in ran["said"]) == call.changes
    (request_id,) = ran["request_ids"]
    return Answer(target["status"], request_id)


def entries_of(session: httpx.Client, answer: Answer) -> list[dict[str, object]]:
    """Everything that the call left on record, newest first."""
    found = session.get("/api/v1/audit/", params={"request_id": answer.request_id})
    return found.raise_for_status().json()["results"]


def told(call: Call, entries: list[dict[str, object]]) -> list[dict[str, object]]:
    """The entries but for what differs from door to door and from moment to moment."""
    left_out = _VARIES | _OF_THE_DOOR
    if not call.changes:
        # A read is recorded with the path or the command by which it came.
        left_out |= {"request"}
    return [
        {name: value for name, value in entry.items() if name not in left_out} for entry in entries
    ]


def callers(entries: list[dict[str, object]]) -> set[tuple[object, object]]:
    return {(entry["actor_kind"], entry["actor_name"]) for entry in entries}


def test_calls__of_the_table__are_of_every_documented_endpoint() -> None:
    assert {call.endpoint.operation_id for call in CALLS} == {
        entry.operation_id for entry in CATALOGUE
    }


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_call__through_four_doors__same_status_and_same_record(
    site: Site,
    session: httpx.Client,
    page: Page,
    client: AuthenticatedClient,
    by_command: dict[str, Any],
    call: Call,
) -> None:
    # A first one, after which all others find the same.
    call_by_client(client, call)
    answers = {
        "client": call_by_client(client, call),
        "browser": call_by_browser(page, site, call),
        "admin": call_by_admin(session, call),
        "command": call_by_command(by_command, call),
    }

    assert {door: answer.status for door, answer in answers.items()} == dict.fromkeys(
        answers, call.status
    )
    left = {door: entries_of(session, answer) for door, answer in answers.items()}
    trails = {door: told(call, entries) for door, entries in left.items()}
    expected = trails["client"]
    assert [entry["stage"] for entry in expected] == (STAGES if call.changes else ["event"])
    assert {entry["agent"] for entry in expected} == {agent_for(call)}
    assert {entry["reason"] for entry in expected} == {REASON if call.changes else ""}
    assert trails == dict.fromkeys(trails, expected)
    assert {door: callers(entries) for door, entries in left.items()} == {
        "client": {("token", f"{USER}/test")},
        "browser": {("user", USER)},
        "admin": {("user", USER)},
        "command": {("command", getpass.getuser())},
    }
