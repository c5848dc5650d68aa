"""Who gets in, who may do what, and what every page says to the browser."""

import gzip

import pytest
from django.db import OperationalError
from django.test import Client

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import ReadPolicy
from controlplane.operations.models import Operation

pytestmark = pytest.mark.django_db

PAGES = ["/dashboard/", "/dashboard/operations/", "/dashboard/revisions/", "/dashboard/audit/"]
HTMX = {"HX-Request": "true", "HX-Current-URL": "http://testserver/dashboard/?q=a"}


@pytest.mark.parametrize("path", [*PAGES, "/dashboard/?role=worker", "/dashboard/nowhere"])
def test_page__nobody_logged_in__goes_to_the_login_and_comes_back(path) -> None:
    client = Client()
    answer = client.get(path)
    assert answer.status_code == 302
    login = client.get(answer["Location"])
    assert login.status_code == 200
    assert f'value="{path}"' in login.content.decode()


def test_part__session_has_ended__sends_the_whole_page_to_the_login() -> None:
    answer = Client().get("/dashboard/", headers=HTMX)
    assert answer.status_code == 204
    assert answer["HX-Redirect"] == "/api/auth/login/?next=/dashboard/%3Fq%3Da"


def test_page__bearer_token__is_no_login(make_user, make_token) -> None:
    token = make_token(make_user(UserRole.ADMIN))
    answer = Client().get("/dashboard/", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 302


@pytest.mark.parametrize("role", list(UserRole))
@pytest.mark.parametrize("path", PAGES)
def test_page__every_role__sees_it(browser_as, role, path) -> None:
    page = browser_as(role).get(path)
    assert page.status_code == 200
    assert role.value in page.content.decode()


@pytest.mark.parametrize("path", [*PAGES, "/dashboard/nowhere", "/dashboard/?label=%3D"])
def test_answer__any_page__allows_nothing_inline_and_nothing_from_elsewhere(viewer, path) -> None:
    answer = viewer.get(path)
    policy = answer["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer["Cache-Control"] == "no-store"
    page = answer.content.decode()
    assert " style=" not in page
    assert "<style" not in page
    assert " onclick=" not in page
    assert "<script>" not in page


def test_fleet__viewer__has_no_actions(viewer, make_agent) -> None:
    make_agent()
    page = viewer.get("/dashboard/").content.decode()
    assert "worker-0" in page
    assert 'id="selection"' not in page
    assert 'name="agent"' not in page


def test_confirm__viewer__is_sent_back(viewer, make_agent) -> None:
    make_agent()
    answer = viewer.get("/dashboard/fleet/confirm/?action=freeze.enable&agent=worker-0")
    assert (answer.status_code, answer["Location"]) == (302, "/dashboard/")


@pytest.mark.parametrize("path", ["/dashboard/fleet/confirm/", "/dashboard/audit/verify"])
def test_change__viewer__403_with_the_remedy_and_on_record(viewer, make_agent, path) -> None:
    make_agent()
    answer = viewer.post(path, {"action": "freeze.enable", "agents": "worker-0", "reason": "x"})
    assert answer.status_code == 403
    assert "An admin can give it to you." in answer.content.decode()
    assert not Operation.objects.exists()
    assert AuditEntry.objects.filter(action="access.denied", actor_name="viewer").exists()


def test_verify__operator__403(operator) -> None:
    assert operator.post("/dashboard/audit/verify").status_code == 403
    assert not AuditEntry.objects.filter(action="audit.verify").exists()


def test_nowhere__logged_in__404_page_with_a_way_on(viewer) -> None:
    page = viewer.get("/dashboard/nowhere/at/all")
    assert page.status_code == 404
    assert page["Content-Type"].startswith("text/html")
    assert 'href="/dashboard/"' in page.content.decode()


def test_change__without_csrf_token__is_refused(make_user) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user(UserRole.ADMIN))
    assert client.post("/dashboard/audit/verify").status_code == 403
    assert not AuditEntry.objects.filter(action="audit.verify").exists()


def test_change__form_of_before_another_login__page_says_what_to_do(make_user) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user(UserRole.ADMIN))
    answer = client.post("/dashboard/audit/verify", headers={"Accept": "text/html"})
    assert answer.status_code == 403
    page = answer.content.decode()
    assert "<h1>This form is out of date</h1>" in page
    assert "Nothing was changed. Go back, load the page again" in page
    assert 'href="/dashboard/"' in page


def test_address__without_its_last_slash__leads_to_the_fleet(viewer) -> None:
    answer = viewer.get("/dashboard?q=worker")
    assert (answer.status_code, answer["Location"]) == (302, "/dashboard/?q=worker")


def test_page__browser_takes_gzip__is_sent_so(viewer, make_agent) -> None:
    make_agent()
    headers = {"Accept-Encoding": "gzip", "HX-Request": "true"}
    answer = viewer.get("/dashboard/", headers=headers)
    assert answer["Content-Encoding"] == "gzip"
    assert {"HX-Request", "Cookie", "Accept-Encoding"} <= set(answer["Vary"].split(", "))
    assert b"worker-0" in gzip.decompress(answer.content)


def test_reads__policy_wants_them__dashboard_reads_are_on_record(viewer, settings) -> None:
    settings.KVPLANE_AUDIT_READS = {"audit": ReadPolicy.METADATA}
    viewer.get("/dashboard/audit/")
    viewer.get("/dashboard/operations/")
    (entry,) = AuditEntry.objects.filter(action="request.read")
    assert entry.request["path"] == "/dashboard/audit/"
    assert entry.actor_name == "viewer"


@pytest.mark.parametrize("page", ["statistics/", "agents/worker-0/charts/"])
@pytest.mark.parametrize(
    "group",
    ["chunk-statistics", "tier-statistics", "config-revisions", "mode-changes", "operations"],
)
def test_reads__policy_wants_one_of_what_the_charts_show__they_are_on_record(
    viewer, make_agent, settings, page, group
) -> None:
    make_agent()
    settings.KVPLANE_AUDIT_READS = {"*": ReadPolicy.OFF, group: ReadPolicy.METADATA}
    assert viewer.get(f"/dashboard/{page}").status_code == 200
    (entry,) = AuditEntry.objects.filter(action="request.read")
    assert entry.request["path"] == f"/dashboard/{page}"


def test_reads__policies_of_what_the_charts_show_differ__most_is_kept(viewer, settings) -> None:
    settings.KVPLANE_AUDIT_READS = {
        "chunk-statistics": ReadPolicy.METADATA,
        "tier-statistics": ReadPolicy.FULL,
        "operations": ReadPolicy.OFF,
    }
    viewer.get("/dashboard/statistics/?last=3600")
    (entry,) = AuditEntry.objects.filter(action="request.read")
    assert entry.request["query"] == {"last": "3600"}


def test_reads__policy_wants_nothing_that_the_charts_show__they_are_not_on_record(
    viewer, settings
) -> None:
    settings.KVPLANE_AUDIT_READS = {"audit": ReadPolicy.FULL, "users": ReadPolicy.FULL}
    viewer.get("/dashboard/statistics/")
    assert not AuditEntry.objects.filter(action="request.read").exists()


def test_address_that_is_only_sent_to__opened__404_page(admin) -> None:
    page = admin.get("/dashboard/audit/verify")
    assert page.status_code == 404
    assert "only a button that leads here" in page.content.decode()


def test_change__session_has_ended__returns_to_the_fleet() -> None:
    answer = Client().post("/dashboard/audit/verify")
    assert answer["Location"] == "/api/auth/login/?next=/dashboard/"


def test_confirm__more_agents_than_a_form_can_have__400_with_the_remedy(operator) -> None:
    query = "&".join(f"agent=worker-{number}" for number in range(10_101))
    page = operator.get(f"/dashboard/fleet/confirm/?action=freeze.enable&{query}")
    assert page.status_code == 400
    assert "make an operation with a selector over the API" in page.content.decode()


def test_change__nul_character__400(operator) -> None:
    page = operator.post(
        "/dashboard/fleet/confirm/",
        {"action": "freeze.enable", "agents": "a\x00b", "reason": "x", "key": "0" * 32},
    )
    assert page.status_code == 400
    assert "NUL character" in page.content.decode()


@pytest.mark.parametrize(
    "path", ["audit/99999999999999999999999/", "revisions/99999999999999999999999/"]
)
def test_number__larger_than_any__404_page(viewer, path) -> None:
    assert viewer.get(f"/dashboard/{path}").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/",
        "/dashboard/agents/worker-0/",
        "/dashboard/fleet/confirm/?action=bypass.add&agent=worker-0",
    ],
)
def test_pages__agent_says_nonsense__are_shown_all_the_same(operator, make_agent, path) -> None:
    agent = make_agent()
    agent.last_status = {
        "versions": "new",
        "storage": {"LocalCPUBackend": "full", "RemoteBackend": {"chunks": "many"}},
        "counters": [1],
        "bypassed_backends": 7,
        "freeze": "yes",
        "meta": None,
    }
    agent.save()
    assert operator.get(path).status_code == 200
    agent.last_status = {
        "storage": {"LocalCPUBackend": {"capacity_bytes": 10**400, "used_bytes": -1, "chunks": 1}},
        "counters": {"lookup_tokens": 10**400, "lookup_hit_tokens": 1, "seconds": 1e300},
    }
    agent.save()
    assert operator.get(path).status_code == 200


def test_page__database_fails__503_page_that_says_so(viewer, monkeypatch) -> None:
    def fail() -> None:
        raise OperationalError("disk I/O error")

    monkeypatch.setattr("controlplane.dashboard.views.fleet.read_fleet", fail)
    page = viewer.get("/dashboard/")
    assert page.status_code == 503
    assert "Nothing was changed. Try again" in page.content.decode()
