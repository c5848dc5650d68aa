"""Which agent a documented path is forwarded to, and who may ask."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.forwarding.transport import NotSent, RawAnswer, TimedOut, WireRequest
from controlplane.operations.models import Operation
from engine.contract import Role
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db


def hosts(agents) -> list[str]:
    return [str(urlsplit(request.base).hostname) for request in agents.requests]


def test_default_target__one_agent_has_the_component__is_asked(
    viewer_api, make_agent, agents
) -> None:
    make_agent("scheduler", Role.SCHEDULER, "http://10.0.0.1:6999")
    make_agent("worker", Role.WORKER, "http://10.0.0.2:7000")
    assert viewer_api.get("/freeze/status").status_code == 200
    assert hosts(agents) == ["10.0.0.2"]


def test_default_target__several_have_the_component__409_with_candidates(
    viewer_api, make_agent, agents
) -> None:
    make_agent("a", url="http://10.0.0.1:7000")
    make_agent("b", url="http://10.0.0.2:7000")
    answer = viewer_api.get("/freeze/status")
    assert answer.status_code == 409
    assert answer.json()["candidates"] == ["a", "b"]
    assert agents.requests == []


def test_default_target__no_agent__409_says_how_to_register(viewer_api, agents) -> None:
    answer = viewer_api.get("/freeze/status")
    assert (answer.status_code, answer.json()["candidates"]) == (409, [])
    assert "register" in answer.json()["message"]


@pytest.fixture
def two_engines(make_agent) -> None:
    """Each a scheduler and a worker."""
    for number, engine in enumerate(("one", "two")):
        host = f"http://10.0.{number}"
        make_agent(f"{engine}-s", Role.SCHEDULER, f"{host}.1:6999", engine=engine)
        make_agent(f"{engine}-w", Role.WORKER, f"{host}.2:7000", engine=engine)


@pytest.mark.parametrize("path", ["/lookup/info", "/chunk_statistics/status"])
def test_default_target__lookup_or_statistics__is_the_scheduler(
    viewer_api, make_agent, agents, path
) -> None:
    make_agent("scheduler", Role.SCHEDULER, "http://10.0.0.1:6999")
    make_agent("worker-0", Role.WORKER, "http://10.0.0.2:7000")
    make_agent("worker-1", Role.WORKER, "http://10.0.0.3:7001", worker_id=1)
    assert viewer_api.get(path).status_code == 200
    assert hosts(agents) == ["10.0.0.1"]


@pytest.mark.parametrize(
    ("path", "headers", "host"),
    [
        ("/lookup/info?engine=two", {}, "10.0.1.1"),
        ("/freeze/status?engine=two", {}, "10.0.1.2"),
        ("/freeze/status", {"x-kvplane-engine": "one"}, "10.0.0.2"),
        ("/freeze/status?engine=two", {"x-kvplane-engine": "one"}, "10.0.1.2"),
        ("/conf?engine=two&agent=two-s", {}, "10.0.1.1"),
        ("/agents/two-w/conf?engine=two", {}, "10.0.1.2"),
    ],
)
def test_target__engine_named__is_one_of_its_agents(
    viewer_api, two_engines, agents, path, headers, host
) -> None:
    answer = viewer_api.get(path, headers=headers)
    assert answer.status_code == 200
    assert hosts(agents) == [host]
    assert "engine" not in agents.requests[0].target


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/lookup/info", 409, "No default agent"),
        ("/lookup/info?engine=three", 404, "Engine not found"),
        ("/conf?engine=one", 409, "No default agent"),
        ("/conf?engine=one&agent=two-s", 409, "Agent of another engine"),
        ("/agents/two-s/conf?engine=one", 409, "Agent of another engine"),
        ("/conf?engine=one&agent=nobody", 404, "Agent not found"),
    ],
)
def test_target__engine_that_does_not_settle_it__says_why(
    viewer_api, two_engines, agents, path, status, error
) -> None:
    answer = viewer_api.get(path)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert agents.requests == []


@pytest.mark.parametrize("verb", ["close", "create", "recreate"])
def test_lookup_change__dry_run__is_a_read_that_viewers_may_do(
    viewer_api, make_agent, agents, verb
) -> None:
    make_agent("scheduler", Role.SCHEDULER)
    assert viewer_api.post(f"/lookup/{verb}?dryrun=true").status_code == 200
    assert Operation.objects.count() == 0


def no_answer(request: WireRequest) -> RawAnswer:
    raise TimedOut("slow")


def no_json(request: WireRequest) -> RawAnswer:
    return RawAnswer(200, "application/json", b"{")


@pytest.mark.parametrize("respond", [no_answer, no_json])
@pytest.mark.parametrize(("dryrun", "state"), [("true", "unchanged"), ("false", "unknown")])
def test_lookup_change__no_usable_answer__says_what_is_known_of_the_state(
    operator_api, make_agent, agents, respond, dryrun, state
) -> None:
    make_agent("scheduler", Role.SCHEDULER)
    agents.respond = respond
    answer = operator_api.post(f"/lookup/recreate?dryrun={dryrun}")
    assert answer.status_code in (502, 504)
    assert answer.json()["state"] == state


@pytest.mark.parametrize("query", ["", "?dryrun=false", "?dryrun=true&dryrun=false"])
def test_lookup_change__viewer__403_and_nothing_is_sent(
    viewer_api, make_agent, agents, query
) -> None:
    make_agent("scheduler", Role.SCHEDULER)
    assert viewer_api.post(f"/lookup/recreate{query}").status_code == 403
    assert agents.requests == []


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/agents/b/conf", {}),
        ("/conf?agent=b", {}),
        ("/conf", {"x-kvplane-agent": "b"}),
        ("/agents/b/conf?agent=a", {"x-kvplane-agent": "a"}),
        ("/conf?agent=b", {"x-kvplane-agent": "a"}),
    ],
)
def test_target__named__path_before_parameter_before_header(
    viewer_api, make_agent, agents, path, headers
) -> None:
    make_agent("a", url="http://10.0.0.1:7000")
    make_agent("b", url="http://10.0.0.2:7000")
    assert viewer_api.get(path, headers=headers).status_code == 200
    assert hosts(agents) == ["10.0.0.2"]


@pytest.mark.parametrize(
    "path",
    ["/agents/", "/agents/worker", "/agents//conf", "/agents/worker/", "/agents/a/b/conf", "/x"],
)
def test_path__not_in_the_catalogue__404(viewer_api, make_agent, agents, path) -> None:
    make_agent("worker")
    answer = viewer_api.get(path)
    assert (answer.status_code, answer.json()["error"]) == (404, "Not found")
    assert agents.requests == []


@pytest.mark.parametrize("path", ["/agents/worker/conf/", "/conf/"])
def test_path__with_a_slash_at_its_end__is_the_same(viewer_api, make_agent, agents, path) -> None:
    make_agent("worker")
    assert viewer_api.get(path).status_code == 200
    assert agents.requests[0].target == "/conf"


def test_target__unknown_name__404(viewer_api, agents) -> None:
    answer = viewer_api.get("/agents/nobody/conf")
    assert answer.status_code == 404
    assert "nobody" in answer.json()["message"]


def test_forwarding__read__passes_query_and_credentials_of_the_agent(
    viewer_api, make_agent, agents
) -> None:
    make_agent(token="agent-secret-9")
    viewer_api.get("/conf?names=a,b&agent=worker-0", headers={"x-request-id": "trace-7"})
    (request,) = agents.requests
    assert parse_qs(request.target.partition("?")[2]) == {"names": ["a,b"]}
    assert request.headers["Authorization"] == "Bearer agent-secret-9"
    assert request.headers["X-Request-ID"] == "trace-7"


def test_forwarding__change__body_arrives_as_it_was_sent(operator_api, make_agent, agents) -> None:
    make_agent()
    raw = b'{ "min_retrieve_tokens" : 512 }'
    agents.respond = lambda request: reply({"updated": {}})
    answer = operator_api.post("/conf", data=raw, content_type="application/json")
    assert answer.status_code == 200
    assert agents.requests[-1].body == raw


def test_forwarding__error_answer_of_the_agent__comes_back_unchanged(
    operator_api, make_agent, agents
) -> None:
    make_agent()
    document = {"updated": {"a": 1}, "errors": {"b": "Unknown config"}}
    agents.respond = lambda request: reply(document, 400)
    answer = operator_api.post("/conf", data=b'{"a": 1, "b": 2}', content_type="application/json")
    assert (answer.status_code, answer.json()) == (400, document)


def test_change__performed__names_the_operation_and_keeps_the_reason(
    operator_api, make_agent, agents
) -> None:
    make_agent()
    answer = operator_api.put(
        "/freeze/enable", headers={"x-kvplane-reason": "Prüfung".encode().decode("latin-1")}
    )
    operation = Operation.objects.get(pk=answer.headers["X-KVPlane-Operation"])
    assert (operation.action, operation.reason) == ("freeze.enable", "Prüfung")
    entries = AuditEntry.objects.filter(operation_id=operation.pk)
    assert {entry.stage for entry in entries} == {"requested", "completed"}


@pytest.mark.parametrize("reason", ["x" * 501, "a\x07b", "\xff\xfe"])
def test_change__unusable_reason__400_and_nothing_is_sent(
    operator_api, make_agent, agents, reason
) -> None:
    make_agent()
    answer = operator_api.put("/freeze/enable", headers={"x-kvplane-reason": reason})
    assert answer.status_code == 400
    assert "X-KVPlane-Reason" in answer.json()["message"]
    assert (agents.requests, Operation.objects.count()) == ([], 0)


def test_change__reason_in_the_query__kept_and_not_passed_on(
    operator_api, make_agent, agents
) -> None:
    make_agent()
    answer = operator_api.put(
        "/freeze/enable?reason=%E5%AE%8C%E4%BA%86%20%21", headers={"x-kvplane-reason": "less"}
    )
    operation = Operation.objects.get(pk=answer.headers["X-KVPlane-Operation"])
    assert operation.reason == "完了 !"
    (request,) = agents.requests
    assert request.target == "/freeze/enable"


@pytest.mark.parametrize("reason", ["x" * 501, "a%07b"])
def test_change__unusable_reason_in_the_query__400_names_the_parameter(
    operator_api, make_agent, agents, reason
) -> None:
    make_agent()
    answer = operator_api.put(f"/freeze/enable?reason={reason}")
    assert answer.status_code == 400
    assert "parameter 'reason'" in answer.json()["message"]
    assert (agents.requests, Operation.objects.count()) == ([], 0)


def test_change__invalid_parameter__400_before_anything_is_recorded_or_sent(
    operator_api, make_agent, agents
) -> None:
    make_agent()
    answer = operator_api.post("/cache/store?tokens_mock=9,3")
    assert answer.status_code == 400
    assert (agents.requests, Operation.objects.count()) == ([], 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("put", "/freeze/enable"),
        ("post", "/conf"),
        ("delete", "/cache/clear"),
        ("post", "/cache/store?tokens_mock=0,16"),
        ("post", "/cache/kvcache/record_slot?enabled=true"),
    ],
)
def test_change__viewer__403_and_nothing_is_sent(
    viewer_api, make_agent, agents, method, path
) -> None:
    make_agent()
    body = {"data": b"{}", "content_type": "application/json"} if path == "/conf" else {}
    assert getattr(viewer_api, method)(path, **body).status_code == 403
    assert agents.requests == []


def test_record_slot__viewer_only_asks__is_a_read(viewer_api, make_agent, agents) -> None:
    make_agent()
    assert viewer_api.post("/cache/kvcache/record_slot").status_code == 200
    assert Operation.objects.count() == 0


def test_read__agent_refuses_the_connection__502_naming_it(viewer_api, make_agent, agents) -> None:
    make_agent()

    def refuse(request: WireRequest) -> RawAnswer:
        raise NotSent("Connection refused")

    agents.respond = refuse
    answer = viewer_api.get("/conf")
    assert answer.status_code == 502
    assert answer.json()["agent"] == "worker-0"


def test_change__agent_too_slow__504_with_unknown_state_and_operation(
    operator_api, make_agent, agents
) -> None:
    make_agent()

    def too_slow(request: WireRequest) -> RawAnswer:
        raise TimedOut("slow")

    agents.respond = too_slow
    answer = operator_api.put("/freeze/enable")
    assert (answer.status_code, answer.json()["state"]) == (504, "unknown")
    assert Operation.objects.get(pk=answer.json()["operation"]).state == "unknown"


def test_read__authenticated__two_queries(
    viewer_api, make_agent, agents, django_assert_num_queries
) -> None:
    make_agent()
    viewer_api.get("/freeze/status")
    with django_assert_num_queries(2):
        answer = viewer_api.get("/agents/worker-0/freeze/status")
    assert answer.status_code == 200


def test_change__logged_in_browser__body_arrives_though_csrf_is_checked(
    make_user, make_agent, agents
) -> None:
    make_agent()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(make_user(UserRole.OPERATOR))
    browser.cookies["kvplane_csrf"] = "x" * 32
    agents.respond = lambda request: reply({"updated": {}})
    answer = browser.post(
        "/conf",
        data=b'{"min_retrieve_tokens": 1}',
        content_type="application/json",
        headers={"x-csrftoken": "x" * 32},
    )
    assert answer.status_code == 200, answer.content
    assert agents.requests[-1].body == b'{"min_retrieve_tokens": 1}'


def test_change__logged_in_browser_without_csrf_token__403_and_nothing_is_sent(
    make_user, make_agent, agents
) -> None:
    make_agent()
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(make_user(UserRole.OPERATOR))
    assert browser.put("/freeze/enable").status_code == 403
    assert agents.requests == []
