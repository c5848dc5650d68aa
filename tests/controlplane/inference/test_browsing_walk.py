"""Every path of the OpenAPI document, opened in a browser: the page has what a person
needs for each of its methods."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.utils import timezone

from controlplane.fleet.models import Agent
from controlplane.fleet.services import create_enrolment_token
from controlplane.forwarding.transport import RawAnswer
from controlplane.reconcile.models import Controller, Watch
from controlplane.statistics.models import Trigger
from controlplane.statistics.services import Asked, record_sample
from engine.contract import CATALOGUE
from tests.controlplane.conftest import ACTOR
from tests.controlplane.inference.pages import HTML, Page
from tests.controlplane.statistics.tier_samples import TOLD, record_tiers

pytestmark = pytest.mark.django_db

DOCUMENT = yaml.safe_load(
    (Path(settings.BASE_DIR) / "docs/openapi/controlplane.yaml").read_text("utf-8")
)
# The one path that is served before Django.
PATHS = sorted(DOCUMENT["paths"].keys() - {"/health"})
# A file, whose filters are on the page of the list that leads to it.
FILES = (
    "/api/v1/audit/export/",
    "/api/v1/chunk-statistics/export/",
    "/api/v1/tier-statistics/export/",
)
# Links say these: the pages of a list, and its order.
BY_LINKS = {"cursor", "page_size", "ordering"}
# What a header or a parameter says as well, for which the page has a field.
SAID_ONCE = {"reason", "expires_in_s", "expires_at", "If-Match"}
TEXTS = {entry.path for entry in CATALOGUE if entry.media_type == "text/plain"}
COUNTED = {"is_collecting": True, "timestamp": 1.0, "total_chunks": 2, "unique_chunks": 1}


@dataclass(frozen=True)
class Said:
    """One method of a path as the document describes it."""

    method: str
    description: str
    names: frozenset[str]


def said_of(path: str) -> Iterator[Said]:
    for method, operation in DOCUMENT["paths"][path].items():
        names = {
            parameter["name"]
            for parameter in operation.get("parameters", ())
            if parameter["in"] in ("query", "header")
        }
        names -= BY_LINKS | SAID_ONCE
        content = operation.get("requestBody", {}).get("content", {})
        names |= set(names_in(content.get("application/json", {}).get("schema", {})))
        yield Said(method.upper(), operation.get("description", ""), frozenset(names))


def names_in(schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The properties of a body; those of an object in it have dots in their names."""
    for inner in schema.get("allOf", ()):
        yield from names_in(inner, prefix)
    if reference := schema.get("$ref"):
        yield from names_in(DOCUMENT["components"]["schemas"][reference.split("/")[-1]], prefix)
    for name, described in schema.get("properties", {}).items():
        nested = list(names_in(described, f"{prefix}{name}."))
        yield from nested or [f"{prefix}{name}"]


@pytest.fixture
def open_page(admin_api, agents, fleet) -> Callable[[str], Any]:
    """Opens a path of the document, with the names and numbers of what is there."""
    agent, _ = fleet()
    answer = agents.respond
    agents.respond = lambda request: (
        RawAnswer(200, "text/plain", b"0.1.0")
        if request.target.partition("?")[0] in TEXTS
        else answer(request)
    )

    def open_one(path: str) -> Any:
        if path.startswith("/api/v1/"):
            populate(admin_api, agent)
        return admin_api.get(filled(admin_api, path), headers=HTML)

    return open_one


def populate(api: Any, agent: Agent) -> None:
    """Something of everything that is listed."""
    api.post("/agents/worker-0/conf", {"min_retrieve_tokens": 7}, format="json")
    api.put("/agents/worker-0/freeze/enable")
    Watch.objects.create(agent=agent)
    now = timezone.now()
    record_sample(agent, COUNTED, {}, "boot", Trigger.MANUAL, Asked(now, now))
    record_tiers(agent, TOLD, Asked(now, now))
    Controller.objects.create(name="host:1:x", started_at=now, seen_at=now, alive_until=now)
    create_enrolment_token(name="rack", expires_at=None, actor=ACTOR, request_id="setup")


def filled(api: Any, path: str) -> str:
    """A path with its placeholders filled in."""
    begin, brace, rest = path.partition("{")
    if not brace:
        return path
    name, _, end = rest.partition("}")
    if name in ("agent_name", "agent"):
        value = "worker-0"
    else:
        value = api.get(begin).json()["results"][-1]["id" if name == "operation" else name]
    return f"{begin}{value}{end}"


@pytest.mark.parametrize("path", [path for path in PATHS if path not in FILES])
def test_page__of_every_path__describes_each_method_and_asks_for_all_that_it_takes(
    open_page, path
) -> None:
    answer = open_page(path)
    page = Page(answer.content.decode())

    assert answer["Content-Type"].startswith("text/html")
    assert answer.status_code == 200, page.text
    for said in said_of(path):
        offered = {name for form in page.forms for name in form.controls}
        if said.method != "GET":
            offered = set(page.call(said.method).controls)
        assert said.names <= offered, (said.method, said.names - offered)
        assert first_words(said.description) in page.text.replace("`", "")


def first_words(description: str) -> str:
    return " ".join(description.replace("`", "").split()).partition(". ")[0].removesuffix(".")


@pytest.mark.parametrize("path", [path for path in PATHS if path not in FILES])
def test_page__of_every_path__can_be_used_without_seeing_it_and_loads_nothing_from_elsewhere(
    open_page, path
) -> None:
    page = Page(open_page(path).content.decode())

    unlabelled = [
        control["id"] or control["name"]
        for form in page.forms
        for control in form.controls.values()
        if control.get("type") not in ("hidden", "submit") and control["id"] not in page.labelled
    ]
    assert unlabelled == []
    assert len(page.ids) == len(set(page.ids))
    assert all(url.startswith(("/static/", "data:")) for url in page.loaded)


@pytest.mark.parametrize("path", FILES)
def test_file__opened_in_a_browser__is_the_file(open_page, path) -> None:
    answer = open_page(path)

    assert answer.status_code == 200
    assert not answer["Content-Type"].startswith("text/html")
