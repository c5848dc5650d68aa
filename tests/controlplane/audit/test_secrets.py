"""Secrets are planted wherever one can be given, and looked for wherever something is
kept or told."""

import gzip
import json
import logging
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from controlplane.accounts.models import ApiToken, UserRole
from controlplane.audit.archiving import archive
from controlplane.audit.events import event_of
from controlplane.audit.heads import HeadWriter
from controlplane.audit.keys import key_ring
from controlplane.audit.models import AuditEntry
from controlplane.audit.reads import ReadPolicy
from controlplane.configuration.models import ConfigSchema
from controlplane.forwarding.transport import NotSent
from controlplane.resources import OWN_RESOURCES

from ..conftest import ACTOR, PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)


class Planted:
    """Makes secrets that can be recognised, and remembers where they went."""

    def __init__(self) -> None:
        self.where: dict[str, str] = {}

    def __call__(self, where: str, prefix: str = "hush-") -> str:
        secret = prefix + secrets.token_hex(16)
        self.where[secret] = where
        return secret

    def found_in(self, told: str) -> list[str]:
        return sorted(where for secret, where in self.where.items() if secret in told)


@pytest.fixture
def plant() -> Planted:
    return Planted()


@pytest.fixture
def story(plant, admin_api, operator_api, fleet, settings, make_user, tmp_path) -> None:
    """Everything that takes a secret gets one."""
    settings.KVPLANE_AUDIT_READS = {"*": ReadPolicy.FULL}
    agent, simulated = fleet(token=plant("agent token, registered"))
    simulated.schema["blob"] = {**simulated.schema["remote_serde"], "choices": None, "secret": True}
    simulated.schema["remote_url"] = {**simulated.schema["remote_serde"], "choices": None}
    simulated.schema["remote_serde"] |= {"choices": None}
    simulated.conf |= {"blob": None, "remote_url": None}
    ConfigSchema.objects.create(
        agent=agent.name, keys=simulated.schema, read_at=agent.registered_at
    )
    _log_in(plant, make_user)
    _manage(plant, admin_api)
    _change(plant, operator_api)
    _read(plant, operator_api, simulated)


def _log_in(plant: Planted, make_user) -> None:
    client = Client()
    client.post("/admin/login/", {"username": "admin", "password": plant("wrong password")})
    client.post("/api/auth/login/", {"username": plant("x"), "password": plant("wrong, API")})
    plant.where = {key: where for key, where in plant.where.items() if where != "x"}
    APIClient().get("/api/v1/agents/", HTTP_AUTHORIZATION=f"Bearer {plant('unknown token')}")
    APIClient().get(
        "/api/v1/agents/",
        HTTP_COOKIE=f"kvplane_session={plant('cookie')}",
        HTTP_X_API_KEY=plant("API key header"),
        HTTP_PROXY_AUTHORIZATION=plant("proxy authorization"),
    )


def _manage(plant: Planted, api: APIClient) -> None:
    new = {"username": "ada", "password": plant("new user's password"), "role": "viewer"}
    pk = api.post("/api/v1/users/", new, format="json").json()["id"]
    api.patch(f"/api/v1/users/{pk}/", {"password": plant("changed password")}, format="json")
    api.post("/api/v1/users/", {**new, "role": plant("role that is none")}, format="json")
    plant.where = {key: w for key, w in plant.where.items() if w != "role that is none"}
    made = api.post("/api/v1/tokens/", {"name": "ci", "role": "admin"}, format="json").json()
    plant.where[made["token"]] = "API token, made"
    enrolment = api.post("/api/v1/enrolment-tokens/", {"name": "rack"}, format="json").json()
    plant.where[enrolment["token"]] = "enrolment token, made"
    agent = {"name": "w9", "role": "worker", "worker_id": 9, "engine": "e"}
    enrolled = {
        **agent,
        "url": "http://10.0.0.9:7000",
        "agent_token": plant("agent token, enrolled"),
    }
    authorization = f"Bearer {enrolment['token']}"
    api_of_agent = APIClient()
    api_of_agent.post("/api/v1/enrol", enrolled, format="json", HTTP_AUTHORIZATION=authorization)
    api.patch("/api/v1/agents/w9/", {"token": plant("agent token, changed")}, format="json")
    url = f"http://u:{plant('credentials in an agent URL')}@10.0.0.9:7000"
    api.patch("/api/v1/agents/w9/", {"url": url}, format="json")


def _change(plant: Planted, api: APIClient) -> None:
    own = plant("token in a text", "kvp_")
    headers = {
        "X-KVPlane-Reason": f"see https://u:{plant('URL in a reason')}@h/ {own}",
        "X-KVPlane-On-Behalf-Of": f"anna {own}",
        "User-Agent": f"curl/{own}",
        "X-Request-ID": f"id-{own}",
    }
    changes = {
        "remote_url": f"redis://u:{plant('URL in a configuration')}@h:1/0",
        "blob": plant("marked in the schema"),
        "extra_config": {"nested": {"password": plant("nested")}},
        "agent_token": plant("named a token"),
    }
    api.post("/agents/worker-0/conf", changes, format="json", headers=headers)
    for url in _urls(plant):
        api.post("/agents/worker-0/conf", {"remote_url": url}, format="json", headers=headers)
        api.put("/agents/worker-0/freeze/enable", headers={"X-KVPlane-Reason": f"see {url} now"})
    for text in _texts(plant):
        api.post("/agents/worker-0/conf", {"remote_serde": text}, format="json")
        api.put("/agents/worker-0/freeze/enable", headers={"X-KVPlane-Reason": quote(text)})
    api.post("/agents/worker-0/conf", _oddly_named(plant), format="json")
    wave = {
        "action": "conf.update",
        "selector": {"everybody": True},
        "body": {"blob": plant("marked, operation")},
        "reason": own,
    }
    api.post("/api/v1/operations/?wait=5", wave, format="json", headers=headers)
    api.put(f"/agents/worker-0/freeze/enable?password={plant('query')}", headers=headers)
    api.put(f"/agents/worker-0/freeze/no?token={plant('query, failed')}", headers=headers)
    api.post("/agents/worker-0/conf", data=plant("no JSON"), content_type="text/plain")


def _urls(plant: Planted) -> list[str]:
    encoded = quote(f"redis://u:{plant('URL, percent-encoded')}@h", safe="")
    return [
        f"redis://cache:6379/0?password={plant('query of a URL')}",
        f"https://h/?p%61ssword={plant('query of a URL, name encoded')}&db=1",
        f"https://h/#access_token={plant('fragment of a URL')}",
        f"redis://:it's{plant('URL, after a quote')}@h/0",
        f'redis://:it"s{plant("URL, after a double quote")}@h/0',
        f"redis://:it`s{plant('URL, after a backtick')}@h/0",
        f"https://h/?next={encoded}",
    ]


def _texts(plant: Planted) -> list[str]:
    inside = json.dumps({"password": plant("JSON in a JSON string")})
    return [
        f"password={plant('text, named')} and so on",
        f"Authorization: Bearer {plant('text, header')}",
        f"sent Bearer {plant('text, scheme')}",
        "\ufeff" + json.dumps({"password": plant("JSON after a BOM")}),
        json.dumps({"password": plant("JSON with something after it")}) + " and so on",
        json.dumps(inside),
        f"日本{plant('own token after a letter', 'kvp_')}",
        f"_{plant('own token after a _', 'kvp_')}",
    ]


def _oddly_named(plant: Planted) -> dict[str, object]:
    names = ("bearer", "jwt", "pass", "signing_key", "encryption_key", "hmac_key", "session_id")
    pair = {"name": "password", "value": plant("pair of a name and a value")}
    return {
        "extra_config": {name: plant(name) for name in (*names, "dsn", "signature")},
        "tokens": plant("named as a count"),
        "stored_tokens": plant("named as another count"),
        "labels": [pair],
        "headers": [["Authorization", plant("header in a list")]],
    }


def _read(plant: Planted, api: APIClient, simulated) -> None:
    simulated.conf["blob"] = plant("told by an agent that does not hide it")
    simulated.conf["remote_url"] = f"redis://u:{plant('URL told by an agent')}@h"
    api.get("/agents/worker-0/conf")
    api.get(f"/api/v1/agents/?password={plant('query of a read')}")

    def fail(method: str, path: str) -> None:
        raise NotSent(f"http://u:{plant('URL in an error')}@h refused")

    simulated.before = fail
    api.get("/agents/worker-0/conf")
    api.put("/agents/worker-0/freeze/disable")


def _database() -> str:
    """Everything that it keeps, byte for byte as far as that can be had."""
    told = []
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            path = Path(str(connection.settings_dict["NAME"]))
            files = [path, path.with_name(path.name + "-wal")]
            told += [part.read_bytes().decode("latin-1") for part in files if part.exists()]
            told += sqlite3.connect(path).iterdump()
        else:
            for table in connection.introspection.table_names(cursor):
                cursor.execute(f'SELECT row_to_json(t)::text FROM "{table}" t')
                told += [row for (row,) in cursor.fetchall()]
    return "\n".join(told)


def _api(api: APIClient) -> Iterator[str]:
    for name in OWN_RESOURCES:
        yield api.get(f"/api/v1/{name}/?page_size=500").content.decode()
    for path in ("audit/export?format=csv", "audit/export?format=jsonl"):
        response = api.get(f"/api/v1/{path}")
        yield b"".join(response.streaming_content).decode()


def _files(directory: Path) -> Iterator[str]:
    last = AuditEntry.objects.order_by("-id").values_list("pk", flat=True).first() or 0
    HeadWriter(directory / "heads", key_ring()).write()
    archive(directory / "archive", key_ring(), last, actor=ACTOR, reason="")
    for path in directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            yield (gzip.decompress(content) if path.suffix == ".gz" else content).decode("latin-1")


def test_secrets__planted_everywhere__are_found_nowhere(
    plant, caplog, request, settings, api_as, tmp_path
):
    caplog.set_level(logging.DEBUG)
    request.getfixturevalue("story")
    settings.KVPLANE_AUDIT_READS = {}
    sinks = {
        "the database": _database(),
        "the log": caplog.text,
        "the API, as a viewer": "\n".join(_api(api_as(UserRole.VIEWER))),
        "the API, as an admin": "\n".join(_api(api_as(UserRole.ADMIN))),
        "events": json.dumps([event_of(entry) for entry in AuditEntry.objects.all()]),
        "archives and heads": "\n".join(_files(tmp_path)),
    }

    assert len(plant.where) >= 55
    leaked = {name: plant.found_in(told) for name, told in sinks.items()}
    assert leaked == {name: [] for name in sinks}
    assert PASSWORD not in sinks["the database"]
    assert ApiToken.objects.exists()
