"""Registering, enrolling and finding agents."""

from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.models import AuditEntry
from controlplane.fleet import services, vault
from controlplane.fleet.models import Agent, Dialect
from controlplane.fleet.validation import normalise_url
from engine.contract import Component, Role

from .registering import WORKER, post

pytestmark = pytest.mark.django_db


ACTOR = Actor(ActorKind.COMMAND, "tests", "command:tests", "127.0.0.1")


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
