"""What of a request goes on record, whatever comes of it."""

import threading
from types import SimpleNamespace

import pytest
from django.db import DatabaseError, OperationalError
from django.test import Client
from rest_framework.test import APIClient

from controlplane.accounts.models import User, UserRole
from controlplane.audit import appending, services
from controlplane.audit.catalogue import ACTIONS, UnknownAction
from controlplane.audit.keys import KeyUnavailable
from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import BadReadPolicy, ReadPolicy, read_policies
from controlplane.backlog import Backlog
from controlplane.operations.models import Operation
from engine.contract import CATALOGUE
from tests.support.waiting import eventually

from ..conftest import ACTOR, PASSWORD
from ..wire import reply

NEW_USER = {"username": "ada", "password": PASSWORD, "role": "viewer"}


def entries(**filters: object) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(**filters).exclude(request_id="setup").order_by("pk"))


@pytest.fixture
def broken_log(monkeypatch) -> None:
    """Nothing can be put on record any more."""

    def fail(*_: object) -> None:
        raise KeyUnavailable("the disk with the keys is gone")

    monkeypatch.setattr(appending, "mac_of", fail)


class TestFailed:
    """Calls that changed nothing, because they failed."""

    def test_bad_field__is_on_record_with_method_path_and_status(self, admin_api):
        admin_api.post("/api/v1/users/", {**NEW_USER, "role": "king"}, format="json")

        (entry,) = entries()
        assert (entry.action, entry.outcome, entry.status) == ("request.fail", "failed", 400)
        assert entry.request["method"] == "POST"
        assert entry.request["path"] == "/api/v1/users/"
        assert entry.actor_name == "admin/tests"
        assert entry.duration_ms is not None
        assert PASSWORD not in entry.document

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("post", "/agents/worker-0/freeze/enable", 405),
            ("post", "/api/v1/nothing/", 404),
            ("delete", "/api/v1/agents/nobody/", 404),
            ("put", "/agents/worker-0/freeze/enable?nul=%00", 400),
        ],
    )
    def test_mutating_method__any_failure__is_on_record(self, admin_api, method, path, status):
        response = getattr(admin_api, method)(path, {}, format="json")

        assert response.status_code == status
        assert [entry.status for entry in entries()] == [status]

    def test_forwarded_call__bad_parameter__is_found_by_agent_and_engine(
        self, operator_api, make_agent, agents
    ):
        make_agent()
        operator_api.put("/agents/worker-0/freeze/enable", HTTP_X_KVPLANE_EXPIRES_IN="-1")

        (entry,) = entries()
        assert entry.status == 400
        assert (entry.agent, entry.engine) == ("worker-0", "engine-a")
        assert entry.request["action"] == "freeze.enable"
        assert entry.request["headers"]["X-KVPlane-Expires-In"] == "-1"

    def test_agent_failed__operation_is_the_record_and_nothing_else(
        self, operator_api, make_agent, agents
    ):
        make_agent()
        agents.respond = lambda request: (_ for _ in ()).throw(ConnectionRefusedError())
        operator_api.put("/agents/worker-0/freeze/enable")

        assert {entry.action for entry in entries()} <= {"freeze.enable", "request.fail"}
        assert entries(action="freeze.enable")

    @pytest.mark.parametrize("status", [420, 499, 520])
    def test_agent_answered_with_a_status_that_has_no_name__is_told_and_on_record(
        self, operator_api, make_agent, agents, status
    ):
        make_agent()
        agents.respond = lambda request: reply({"status": "odd"}, status)

        for response in (
            operator_api.put("/agents/worker-0/freeze/enable"),
            operator_api.get("/agents/worker-0/conf"),
        ):
            assert (response.status_code, response.json()) == (status, {"status": "odd"})
        assert entries(action="freeze.enable", stage="completed")[0].status == status

    @pytest.mark.django_db(transaction=True)
    def test_recorded_in_a_transaction_that_failed__failure_is_on_record(
        self, admin_api, monkeypatch
    ):
        record = services.record

        def record_and_fail(**given: object) -> None:
            record(**given)
            raise DatabaseError("the disk is full")

        with monkeypatch.context() as patch:
            failing = SimpleNamespace(record=record_and_fail)
            patch.setattr("controlplane.accounts.services.audit", failing)
            response = admin_api.post("/api/v1/users/", NEW_USER, format="json")

        assert response.status_code == 503
        assert not User.objects.filter(username="ada").exists()
        assert [entry.action for entry in entries()] == ["request.fail"]

    @pytest.mark.django_db(transaction=True)
    def test_database_held_the_caller_up__is_recorded_without_another_wait(
        self, admin_api, make_agent, agents, monkeypatch
    ):
        make_agent()
        go_on = threading.Event()
        record, denial = services.record, services.record_denial

        def held_up(**given: object) -> None:
            raise OperationalError("database is locked")

        def wait_and_record(**given: object) -> None:
            go_on.wait(10)
            with monkeypatch.context() as patch:
                patch.setattr(services, "record", record)
                denial(**given)

        monkeypatch.setattr("controlplane.recording._PATIENCE_MS", 0)
        monkeypatch.setattr(services, "record", held_up)
        monkeypatch.setattr(services, "record_denial", wait_and_record)
        response = admin_api.put("/agents/worker-0/freeze/enable")

        assert response.status_code == 503
        assert agents.requests == []
        assert entries() == []
        go_on.set()
        eventually(lambda: [entry.action for entry in entries()] == ["request.fail"])

    @pytest.mark.django_db(transaction=True)
    def test_database_holds_many_up__one_thread_records_and_the_rest_is_counted(
        self, admin_api, make_agent, agents, monkeypatch
    ):
        make_agent()
        begun, go_on = threading.Event(), threading.Event()
        record = services.record

        def held_up(**given: object) -> None:
            if threading.current_thread().name != "late":
                raise OperationalError("database is locked")
            begun.set()
            go_on.wait(10)
            record(**given)

        monkeypatch.setattr("controlplane.recording._PATIENCE_MS", 0)
        monkeypatch.setattr("controlplane.recording._late", Backlog("late", most=1, stop_s=1))
        with monkeypatch.context() as patch:
            patch.setattr(services, "record", held_up)
            admin_api.put("/agents/worker-0/freeze/enable")
            assert begun.wait(10)
            for _ in range(4):
                assert admin_api.put("/agents/worker-0/freeze/enable").status_code == 503
            go_on.set()
            eventually(lambda: len(entries(action="request.fail")) == 2)

        services.record_left_out()
        told = entries(action="access.denied")[-1].request
        assert told["actions"] == {"request.fail": 3}

    def test_safe_method__failure__is_not_on_record(self, viewer_api):
        viewer_api.get("/api/v1/agents/nobody/")

        assert entries() == []

    def test_changes_nothing__is_on_record(self, admin_api, make_agent):
        agent = make_agent()
        sent = {"name": agent.name, "url": agent.url, "role": "worker", "worker_id": 0}
        admin_api.post("/api/v1/agents/", {**sent, "engine": "engine-a"}, format="json")

        assert [(entry.action, entry.outcome) for entry in entries()] == [
            ("request.make", "unchanged")
        ]

    def test_form_in_the_admin__not_accepted__is_on_record(self, make_user):
        client = Client()
        client.force_login(make_user(UserRole.ADMIN))
        client.post("/admin/accounts/user/add/", {"username": ""})

        assert entries(action="request.make")[0].actor_name == "admin"


@pytest.mark.django_db(transaction=True)
class TestNoRecordNoChange:
    """What cannot be put on record does not happen."""

    def test_change_of_an_agent__nothing_is_sent(
        self, operator_api, make_agent, agents, monkeypatch
    ):
        make_agent()

        def fail(*_: object) -> None:
            raise KeyUnavailable("the disk with the keys is gone")

        monkeypatch.setattr(appending, "mac_of", fail)
        before = len(agents.requests)
        response = operator_api.put("/agents/worker-0/freeze/enable")

        assert response.status_code == 503
        assert len(agents.requests) == before
        assert not Operation.objects.exists()

    def test_change_of_our_own_records__is_not_made(self, admin_api, broken_log):
        response = admin_api.post("/api/v1/users/", NEW_USER, format="json")

        assert response.status_code == 503
        assert not User.objects.filter(username="ada").exists()

    @pytest.mark.parametrize("path", ["/admin/login/", "/api/auth/login/"])
    @pytest.mark.parametrize("accepted", ["application/json", "text/html"])
    def test_login__is_refused_and_says_why(self, make_user, broken_log, path, accepted):
        make_user(UserRole.ADMIN)
        client = Client(raise_request_exception=False)
        sent = {"username": "admin", "password": PASSWORD}
        response = client.post(path, sent, headers={"accept": accepted})

        assert response.status_code == 503
        assert response["Content-Type"].startswith(accepted)
        assert "Service unavailable" in response.content.decode()
        assert "Try again" in response.content.decode()
        assert "kvplane_session" not in response.cookies
        assert client.get("/admin/").status_code == 302
        assert client.get("/api/v1/audit/").status_code == 401


class TestReads:
    """Reads by policy."""

    def test_off__nothing_is_on_record(self, viewer_api, make_agent, agents):
        make_agent()
        viewer_api.get("/agents/worker-0/conf")
        viewer_api.get("/api/v1/agents/")

        assert entries() == []

    def test_metadata__who_and_what_but_not_the_answer(
        self, viewer_api, make_agent, agents, settings
    ):
        settings.KVPLANE_AUDIT_READS = {str(_group("get_conf")): ReadPolicy.METADATA}
        make_agent()
        viewer_api.get("/agents/worker-0/conf?names=chunk_size")
        viewer_api.get("/api/v1/agents/")

        (entry,) = entries()
        assert (entry.action, entry.agent, entry.status) == ("request.read", "worker-0", 200)
        assert entry.answer is None
        assert "query" not in entry.request

    def test_full__query_and_answer_redacted(self, viewer_api, make_agent, agents, settings):
        settings.KVPLANE_AUDIT_READS = {"*": ReadPolicy.FULL}
        make_agent()
        viewer_api.get("/api/v1/agents/?engine=engine-a&password=hush")

        (entry,) = entries()
        assert entry.request["query"] == {"engine": "engine-a", "password": "***"}
        assert entry.answer["results"][0]["name"] == "worker-0"

    def test_group_that_is_off__stands_against_everything(self, viewer_api, settings):
        settings.KVPLANE_AUDIT_READS = {"*": ReadPolicy.METADATA, "agents": ReadPolicy.OFF}
        viewer_api.get("/api/v1/agents/")
        viewer_api.get("/api/v1/engines/")

        assert [entry.request["path"] for entry in entries()] == ["/api/v1/engines/"]

    def test_cannot_be_recorded__nothing_is_told(self, viewer_api, settings, broken_log):
        settings.KVPLANE_AUDIT_READS = {"*": ReadPolicy.METADATA}
        response = viewer_api.get("/api/v1/agents/")

        assert response.status_code == 503
        assert response.json()["error"] == "Not recorded"

    @pytest.mark.parametrize("pairs", [{"nothing": "full"}, {"agents": "some"}])
    def test_setting__unknown_group_or_policy__is_refused(self, pairs):
        with pytest.raises(BadReadPolicy):
            read_policies(pairs, frozenset({"agents"}))


def _group(operation_id: str) -> object:
    return next(e.group for e in CATALOGUE if e.operation_id == operation_id)


class TestActor:
    """Who it was."""

    def entry(self, api: APIClient, **headers: str) -> AuditEntry:
        api.post("/api/v1/users/", NEW_USER, format="json", headers=headers)
        return entries()[-1]

    def test_headers__user_agent_and_on_behalf_of_are_kept(self, admin_api):
        sent = {
            "user-agent": "deploy/1.2",
            "x-kvplane-on-behalf-of": "gräfin\x07".encode().decode("latin-1"),
        }
        entry = self.entry(admin_api, **sent)

        assert (entry.user_agent, entry.on_behalf_of) == ("deploy/1.2", "gräfin")

    def test_operation__keeps_them_too(self, operator_api, make_agent, agents):
        make_agent()
        operator_api.put(
            "/agents/worker-0/freeze/enable",
            headers={"user-agent": "deploy/1.2", "x-kvplane-on-behalf-of": "anna"},
        )

        assert [entry.on_behalf_of for entry in entries(action="freeze.enable")] == ["anna"] * 2
        operation = Operation.objects.get()
        assert (operation.user_agent, operation.on_behalf_of) == ("deploy/1.2", "anna")

    @pytest.mark.parametrize(
        ("trusted", "forwarded", "found"),
        [
            ([], "6.6.6.6", "127.0.0.1"),
            (["127.0.0.0/8"], "6.6.6.6, 10.0.0.7", "10.0.0.7"),
            (["127.0.0.0/8", "10.0.0.0/8"], "6.6.6.6, 9.9.9.9, 10.0.0.7", "9.9.9.9"),
            (["127.0.0.0/8", "10.0.0.0/8"], "10.0.0.8", "10.0.0.8"),
            (["127.0.0.0/8"], "", "127.0.0.1"),
            (["127.0.0.0/8"], "<script>", "127.0.0.1"),
            (["127.0.0.0/8"], "2001:db8::7", "2001:db8::7"),
            (["2001:db8::/32"], "6.6.6.6", "127.0.0.1"),
        ],
    )
    def test_source_address__proxies__are_passed_as_far_as_trusted(
        self, admin_api, settings, trusted, forwarded, found
    ):
        from ipaddress import ip_network

        settings.KVPLANE_TRUSTED_PROXIES = [ip_network(network) for network in trusted]
        entry = self.entry(admin_api, **{"x-forwarded-for": forwarded})

        assert entry.source_address == found


class TestChanges:
    """What was before and is after."""

    def test_mode__requested_and_completed__are_tied_and_tell_the_difference(
        self, operator_api, fleet
    ):
        fleet()
        operator_api.put(
            "/agents/worker-0/freeze/enable", HTTP_X_REQUEST_ID="r-1", HTTP_X_KVPLANE_REASON="why"
        )

        requested, completed = entries(action="freeze.enable")
        assert (requested.stage, completed.stage) == ("requested", "completed")
        assert requested.operation_id == completed.operation_id is not None
        assert requested.request_id == completed.request_id == "r-1"
        assert (completed.engine, completed.target) == ("engine-a", "agent:worker-0")
        assert completed.after == {"freeze": True}
        assert completed.diff["freeze"]["to"] is True

    def test_configuration__completed__tells_the_keys_that_differ(self, operator_api, fleet):
        fleet()
        response = operator_api.post(
            "/agents/worker-0/conf", {"min_retrieve_tokens": 64}, format="json"
        )

        assert response.status_code == 200, response.content
        completed = entries(action="conf.update", stage="completed")[0]
        assert list(completed.diff) == ["min_retrieve_tokens"]
        assert completed.after == {"min_retrieve_tokens": 64}

    def test_links__lead_to_the_same_request_and_agent(self, operator_api, viewer_api, fleet):
        fleet()
        operator_api.put("/agents/worker-0/freeze/enable", HTTP_X_REQUEST_ID="r-1")
        shown = viewer_api.get("/api/v1/audit/?action=freeze.enable").json()["results"][0]

        for name in ("request", "operation", "agent"):
            found = viewer_api.get(shown["links"][name]).json()["results"]
            assert shown["id"] in [entry["id"] for entry in found]


def test_record__action_that_is_not_in_the_catalogue__is_refused(db):
    with pytest.raises(UnknownAction):
        services.record(action="thing.done", actor=ACTOR, request_id="r")
    assert entries() == []


def test_catalogue__documented_endpoints__are_in_it():
    assert {endpoint.action for endpoint in CATALOGUE if endpoint.action} <= ACTIONS
    assert all(action.count(".") == 1 for action in ACTIONS)
