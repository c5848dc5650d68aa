"""Registering, enrolling and finding agents."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.utils import timezone
from rest_framework.test import APIClient

from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.models import AuditEntry
from controlplane.fleet import services, vault
from controlplane.fleet.models import Agent, Dialect, Engine, EnrolmentToken
from controlplane.fleet.validation import normalise_url
from controlplane.forwarding.transport import NotSent, RawAnswer
from engine.contract import Component, Role
from tests.controlplane.inference.pages import Page
from tests.controlplane.wire import reply

pytestmark = pytest.mark.django_db
ACTOR = Actor(ActorKind.COMMAND, "tests", "command:tests", "127.0.0.1")
WORKER = {
    "name": "worker-0",
    "engine": "engine-a",
    "role": "worker",
    "worker_id": 0,
    "url": "http://10.0.0.7:7000",
    "token": "hush-hush-1",
}


def post(api: APIClient, changes: dict[str, object]):
    return api.post("/api/v1/agents/", {**WORKER, **changes}, format="json")


def test_agent__registered__is_known_and_its_token_is_not_shown(admin_api):
    response = post(admin_api, {})

    assert response.status_code == 201
    assert response.json()["has_token"] is True
    everything = [
        response.content.decode(),
        admin_api.get("/api/v1/agents/").content.decode(),
        admin_api.get("/api/v1/agents/worker-0/").content.decode(),
        str(list(AuditEntry.objects.values())),
        str(list(Agent.objects.values())),
    ]
    assert not any("hush" in text for text in everything)
    assert services.find_agent("worker-0").bearer_token() == "hush-hush-1"


def test_agent__registered_again_alike__changes_and_records_nothing(admin_api):
    post(admin_api, {})

    assert post(admin_api, {}).status_code == 200
    assert AuditEntry.objects.filter(action__startswith="agent.").count() == 1


def test_agent__changed__before_and_after_are_on_record(admin_api):
    post(admin_api, {})
    response = admin_api.patch(
        "/api/v1/agents/worker-0/", {"url": "http://10.0.0.8:7000/"}, format="json"
    )

    assert response.json()["url"] == "http://10.0.0.8:7000"
    entry = AuditEntry.objects.get(action="agent.update")
    assert entry.before["url"] == "http://10.0.0.7:7000"
    assert entry.after["url"] == "http://10.0.0.8:7000"
    assert services.find_agent("worker-0").bearer_token() == "hush-hush-1"


def test_agent__token_emptied__is_removed(admin_api):
    post(admin_api, {})

    response = admin_api.patch("/api/v1/agents/worker-0/", {"token": ""}, format="json")
    assert response.json()["has_token"] is False
    assert AuditEntry.objects.get(action="agent.update").request["token_changed"] is True


def test_agent__registered__its_new_engine_is_on_record(admin_api):
    post(admin_api, {})
    post(admin_api, {"name": "worker-1", "worker_id": 1})

    entry = AuditEntry.objects.get(action="engine.create")
    assert entry.before is None
    assert entry.after == {"name": "engine-a", "labels": {}}
    assert entry.actor_kind == "token"


@pytest.mark.parametrize("how", ["put", "post", "command"])
def test_agent__changed__what_is_left_out_stays(admin_api, how):
    known = {"labels": {"zone": "a"}, "dialect": "lmcache", "instance_id": "i1"}
    post(admin_api, known)
    Agent.objects.update(boot_id="b1")
    changes = {**WORKER, "url": "http://10.0.0.8:7000"}
    if how == "put":
        response = admin_api.put("/api/v1/agents/worker-0/", changes, format="json")
        assert response.status_code == 200
    elif how == "post":
        assert post(admin_api, changes).status_code == 200
    else:
        call_command(
            "register_agent", "worker-0", "http://10.0.0.8:7000", "--engine", "engine-a",
            "--role", "worker", "--worker-id", "0", stdout=StringIO(),
        )  # fmt: skip

    agent = Agent.objects.get()
    assert agent.url == "http://10.0.0.8:7000"
    assert (agent.labels, agent.dialect) == ({"zone": "a"}, Dialect.LMCACHE)
    assert (agent.instance_id, agent.boot_id) == ("i1", "b1")


def test_agent__given_empty__is_emptied(admin_api):
    post(admin_api, {"labels": {"zone": "a"}, "instance_id": "i1"})
    post(admin_api, {"labels": {}, "instance_id": ""})

    agent = Agent.objects.get()
    assert (agent.labels, agent.instance_id) == ({}, "")


def test_change_agent__row_changed_meanwhile__keeps_that_change(make_agent):
    stale = make_agent()
    Agent.objects.update(url="http://10.0.0.8:7000")
    services.change_agent(stale, {"labels": {"zone": "a"}}, actor=ACTOR, request_id="r")

    agent = Agent.objects.get()
    assert (agent.url, agent.labels) == ("http://10.0.0.8:7000", {"zone": "a"})


def test_change_agent__removed_meanwhile__is_404(make_agent):
    stale = make_agent()
    Agent.objects.all().delete()

    with pytest.raises(services.AgentNotFound):
        services.change_agent(stale, {"labels": {}}, actor=ACTOR, request_id="r")
    assert not Agent.objects.exists()


@pytest.mark.parametrize("worker_id", ["-5", "65536", "9" * 30])
def test_register_agent__bad_worker_id__is_told(worker_id):
    with pytest.raises(CommandError, match="--worker-id: A worker id is 0 to 65535"):
        call_command(
            "register_agent", "a", "http://h", "--engine", "e", "--role", "worker",
            f"--worker-id={worker_id}",
        )  # fmt: skip


def test_agent__removed__is_gone_and_history_stays(admin_api):
    post(admin_api, {})

    assert admin_api.delete("/api/v1/agents/worker-0/").status_code == 204
    assert admin_api.get("/api/v1/agents/worker-0/").status_code == 404
    assert AuditEntry.objects.get(action="agent.remove").agent == "worker-0"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "a/b"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"engine": "-"}, "engine"),
        ({"role": "boss"}, "role"),
        ({"worker_id": None}, "worker_id"),
        ({"worker_id": -1}, "worker_id"),
        ({"worker_id": 10**30}, "worker_id"),
        ({"worker_id": "x"}, "worker_id"),
        ({"role": "scheduler"}, "worker_id"),
        ({"url": "http://user:pw@h:1"}, "url"),
        ({"token": "white space"}, "token"),
        ({"labels": {"a": 1, "b": {"c": 1}}}, "labels"),
        ({"labels": [1]}, "labels"),
        ({"dialect": "klingon"}, "dialect"),
    ],
)
def test_agent__bad_field__is_400_naming_it_and_nothing_is_stored(admin_api, changes, field):
    response = post(admin_api, changes)

    assert response.status_code == 400, response.content
    body = response.json()
    assert body["error"] == "Invalid request"
    assert field in body["fields"]
    assert field in body["message"]
    assert not Agent.objects.exists()


@pytest.mark.parametrize(
    ("url", "stored"),
    [
        ("http://10.0.0.7:7000", "http://10.0.0.7:7000"),
        ("HTTPS://Node-3.Example:443/", "https://node-3.example:443"),
        ("http://[::1]:7000", "http://[::1]:7000"),
        ("http://localhost", "http://localhost"),
        (f"http://{'a' * 63}.b_1:1", f"http://{'a' * 63}.b_1:1"),
        ("http://10-0-0-7.nodes.0xyz.:80", "http://10-0-0-7.nodes.0xyz.:80"),
    ],
)
def test_url__root_of_a_server__is_stored_in_normal_form(url, stored):
    assert normalise_url(url) == stored


@pytest.mark.parametrize(
    "url",
    [
        "",
        "10.0.0.7:7000",
        "ftp://h",
        "file:///etc/passwd",
        "http://",
        "http://h/path",
        "http://h?x=1",
        "http://h?",
        "http://h#f",
        "http://u:p@h",
        "http://@h",
        "http://h:0",
        "http://h:99999",
        "http://h:x",
        "http://[::1",
        "http://169.254.169.254",
        "http://[fe80::1]",
        "http://[::ffff:169.254.169.254]",
        "http://0.0.0.0:7000",
        "http://224.0.0.1",
        "http://a b",
        "http://h\r\nX: y",
        "http://h\x00",
        "http://ü.example",
        "http://a..b:80",
        "http://.a:80",
        "http://a..:80",
        "http://-a.b",
        "http://a-.b",
        f"http://{'a' * 64}.b",
        f"http://{'.'.join(['a' * 60] * 5)}",
        "http://2852039166",
        "http://0xA9FEA9FE",
        "http://169.254.43518",
        "http://169.254.0xa9fe",
        "http://0251.0376.0251.0376",
        "http://169.254.169.254.",
        "http://0",
        "http://0x",
    ],
)
def test_url__anything_else__is_refused(url):
    with pytest.raises(ValidationError):
        normalise_url(url)


def test_default_agent__exactly_one_has_it__is_that_one(make_agent):
    make_agent("sched", Role.SCHEDULER)
    worker = make_agent("worker-0")

    assert services.default_agent(Component.CACHE_ENGINE) == worker


@pytest.mark.parametrize("names", [[], ["worker-0", "worker-1"]])
def test_default_agent__not_exactly_one__is_409_with_the_candidates(make_agent, names):
    for number, name in enumerate(names):
        make_agent(name, worker_id=number)

    with pytest.raises(services.NoDefaultAgent) as caught:
        services.default_agent(Component.CACHE_ENGINE)
    assert caught.value.status == 409
    assert caught.value.body()["candidates"] == names


def test_find_agent__unknown__is_404():
    with pytest.raises(services.AgentNotFound) as caught:
        services.find_agent("nobody")
    assert caught.value.status == 404


def test_token__other_secret_key__is_unreadable_until_the_old_key_is_a_fallback(
    make_agent, settings
):
    make_agent(token="hush")
    old = settings.SECRET_KEY
    settings.SECRET_KEY = "another-key-altogether"

    with pytest.raises(vault.UnreadableToken):
        services.find_agent("worker-0").bearer_token()
    settings.SECRET_KEY_FALLBACKS = [old]
    assert services.find_agent("worker-0").bearer_token() == "hush"


def test_find_agent__what_a_call_does_not_need__loads_when_asked_for(
    make_agent, django_assert_num_queries
):
    made = make_agent()
    services.change_agent(made, {"labels": {"zone": "a"}}, actor=ACTOR, request_id="r")

    with django_assert_num_queries(1):
        found = services.find_agent("worker-0")
        assert (found.pk, found.url, found.worker_id) == (made.pk, made.url, 0)
    assert found.labels == {"zone": "a"}
    assert found.engine.name == "engine-a"


def test_probe__agent_answers__is_seen(operator_api, make_agent, agents):
    make_agent()
    agents.respond = lambda request: reply({"boot_id": "b1", "generation": 3})

    response = operator_api.post("/api/v1/agents/worker-0/probe")

    assert response.status_code == 200
    assert response.json()["boot_id"] == "b1"
    assert response.json()["last_status"]["generation"] == 3
    assert response.json()["last_seen_at"] is not None


@pytest.mark.parametrize("boot_id", ["\\ud800", "\\u0000", "b" * 500])
def test_probe__strange_boot_id__is_kept_as_far_as_can_be(
    operator_api, make_agent, agents, boot_id
):
    make_agent()
    body = f'{{"boot_id": "{boot_id}", "instance_id": "{boot_id}"}}'.encode()
    agents.respond = lambda request: RawAnswer(200, "application/json", body)

    assert operator_api.post("/api/v1/agents/worker-0/probe").status_code == 200
    stored = Agent.objects.get().boot_id
    assert 1 <= len(stored) <= 64
    assert "\x00" not in stored


def test_probe__agent_removed_meanwhile__is_404(operator_api, make_agent, agents):
    make_agent()

    def remove(request):
        Agent.objects.all().delete()
        return reply({"boot_id": "b1"})

    agents.respond = remove
    assert operator_api.post("/api/v1/agents/worker-0/probe").status_code == 404


def test_probe__agent_is_gone__is_502_and_not_seen(operator_api, make_agent, agents):
    make_agent()

    def refuse(request):
        raise NotSent("refused")

    agents.respond = refuse
    response = operator_api.post("/api/v1/agents/worker-0/probe")

    assert response.status_code == 502
    assert response.json()["agent"] == "worker-0"
    assert Agent.objects.get().last_seen_at is None


class TestEnrolment:
    SENT = {
        "name": "smol-worker-0",
        "url": "http://10.0.0.7:7000",
        "role": "worker",
        "worker_id": 0,
        "engine": "smol",
        "instance_id": "smol",
        "agent_token": "hush-1",
        "dialect": "kvplane",
        "boot_id": "b1",
    }

    @pytest.fixture
    def token(self, admin_api) -> str:
        return self.make(admin_api)

    def make(self, admin_api) -> str:
        response = admin_api.post("/api/v1/enrolment-tokens/", {"name": "rack 1"}, format="json")
        assert response.status_code == 201
        return response.json()["token"]

    def enrol(self, token: str, **changes: object):
        return APIClient().post(
            "/api/v1/enrol",
            {**self.SENT, **changes},
            format="json",
            HTTP_AUTHORIZATION=f"Bearer {token}",
        )

    def test_enrol__new_agent__is_known(self, token):
        response = self.enrol(token)

        assert response.status_code == 201
        assert "hush" not in response.content.decode()
        assert services.find_agent("smol-worker-0").bearer_token() == "hush-1"
        entry = AuditEntry.objects.get(action="agent.register")
        assert (entry.actor_kind, entry.actor_name) == ("agent", "smol-worker-0")
        assert token not in str(list(AuditEntry.objects.values()))

    def test_enrol__agent_started_anew__is_updated(self, token):
        self.enrol(token)
        response = self.enrol(token, boot_id="b2", url="http://10.0.0.9:7000")

        assert response.status_code == 200
        agent = Agent.objects.get()
        assert (agent.boot_id, agent.url) == ("b2", "http://10.0.0.9:7000")

    def test_enrol__enrolment_token_was_rotated__agent_token_proves_it(self, token, admin_api):
        self.enrol(token)
        EnrolmentToken.objects.update(revoked_at=timezone.now())
        response = self.enrol(self.make(admin_api), boot_id="b2")

        assert response.status_code == 200
        agent = Agent.objects.get()
        assert agent.boot_id == "b2"
        assert agent.enrolled_with == EnrolmentToken.objects.get(revoked_at=None)
        change = AuditEntry.objects.get(action="agent.update")
        assert change.before["enrolled_with"] != change.after["enrolled_with"]
        assert list(change.diff) == ["boot_id", "enrolled_with"]

    @pytest.mark.parametrize("other_enrolment_token", [True, False])
    @pytest.mark.parametrize("agent_token", ["hush-2", "", None])
    def test_enrol__without_the_stored_agent_token__is_refused_on_record(
        self, token, admin_api, other_enrolment_token, agent_token
    ):
        self.enrol(token)
        shown = self.make(admin_api) if other_enrolment_token else token
        engines = {"engine": "elsewhere"}
        response = self.enrol(shown, url="http://6.6.6.6:1", agent_token=agent_token, **engines)

        assert response.status_code == 409
        agent = Agent.objects.get()
        assert (agent.url, agent.engine.name) == ("http://10.0.0.7:7000", "smol")
        assert agent.bearer_token() == "hush-1"
        assert not Engine.objects.filter(name="elsewhere").exists()
        entry = AuditEntry.objects.get(action="agent.enrol")
        assert (entry.outcome, entry.status, entry.agent) == ("denied", 409, "smol-worker-0")
        assert entry.request["url"] == "http://6.6.6.6:1"
        assert "hush" not in str(entry.request)

    @pytest.mark.parametrize("url", ["http://10.0.0.7:7000", "http://10.0.0.9:7000"])
    def test_enrol__new_agent_token__is_an_admins_to_store(self, token, admin_api, url):
        self.enrol(token)
        assert self.enrol(token, url=url, agent_token="hush-2").status_code == 409

        admin_api.patch("/api/v1/agents/smol-worker-0/", {"token": "hush-2"}, format="json")
        assert self.enrol(token, url=url, agent_token="hush-2").status_code == 200

    @pytest.mark.parametrize("agent_token", ["", None])
    def test_enrol__agent_without_token__needs_the_same_enrolment_token(
        self, token, admin_api, agent_token
    ):
        assert self.enrol(token, agent_token=agent_token).status_code == 201
        assert Agent.objects.get().bearer_token() == ""

        moved = {"url": "http://127.0.0.1:7001", "agent_token": agent_token}
        assert self.enrol(token, **moved).status_code == 200
        assert self.enrol(self.make(admin_api), **moved).status_code == 409
        assert self.enrol(token, **{**moved, "url": "http://6.6.6.6:1"}).status_code == 200
        assert self.enrol(token, url="http://6.6.6.7:1", agent_token="x").status_code == 409

    def test_enrol__secret_key_was_lost__heals_where_the_agent_was(self, token, settings):
        self.enrol(token)
        settings.SECRET_KEY = "another-key-altogether"

        assert self.enrol(token, url="http://6.6.6.6:1").status_code == 409
        assert self.enrol(token).status_code == 200
        assert Agent.objects.get().bearer_token() == "hush-1"

    def test_enrol__name_inserted_meanwhile__is_tried_once_more(self, token, monkeypatch):
        write = services._write
        calls = []

        def beaten(*args):
            calls.append(args)
            if len(calls) == 1:
                write(*args)
                raise IntegrityError("UNIQUE constraint failed: fleet_agent.name")
            return write(*args)

        monkeypatch.setattr(services, "_write", beaten)

        assert self.enrol(token).status_code == 201
        assert len(calls) == 2
        assert Agent.objects.count() == 1

    def test_enrol__name_of_an_agent_of_another_token__is_not_taken_over(self, token, admin_api):
        self.enrol(token)
        response = self.enrol(self.make(admin_api), url="http://6.6.6.6:1", agent_token="guess")

        assert response.status_code == 409
        assert Agent.objects.get().url == "http://10.0.0.7:7000"

    def test_enrol__name_of_a_registered_agent__is_not_taken_over(self, token, make_agent):
        make_agent("smol-worker-0")

        assert self.enrol(token, url="http://6.6.6.6:1").status_code == 409
        assert Agent.objects.get().url == "http://127.0.0.1:7000"

    @pytest.mark.parametrize(
        "changes",
        [
            {"revoked_at": timezone.now()},
            {"expires_at": timezone.now() - timedelta(seconds=1)},
            {"digest": "0" * 64},
        ],
    )
    def test_enrol__token_not_good__is_401(self, token, changes):
        EnrolmentToken.objects.update(**changes)
        response = self.enrol(token)

        assert response.status_code == 401
        assert response["WWW-Authenticate"].startswith("Bearer")
        assert not Agent.objects.exists()

    def test_enrol__api_token__opens_no_door(self, make_user, make_token):
        from controlplane.accounts.models import UserRole

        assert self.enrol(make_token(make_user(UserRole.ADMIN))).status_code == 401

    def test_enrolment_token__as_api_token__opens_no_door(self, token):
        api = APIClient()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

        assert api.get("/api/v1/agents/").status_code == 401

    def test_enrolment_token__browsable_page__has_a_form_that_fits(self, admin_api):
        page = admin_api.get("/api/v1/enrolment-tokens/", HTTP_ACCEPT="text/html")

        assert {"name", "expires_at"} <= set(Page(page.content.decode()).call("POST").controls)

    def test_enrol__too_often__is_429_with_retry_after(self, token):
        answers = [self.enrol("kvpe_wrong") for _ in range(61)]

        assert answers[-1].status_code == 429
        assert int(answers[-1]["Retry-After"]) >= 1

    def test_enrol__bad_body__is_400_naming_the_field(self, token):
        response = self.enrol(token, role="boss")

        assert response.status_code == 400
        assert "role" in response.json()["fields"]
