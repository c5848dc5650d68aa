"""Who may call: tokens, and without one only this machine."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from engine.agent.app import create_app
from engine.agent.auth import check_exposure
from engine.agent.own_endpoints import OWN_ENDPOINTS
from engine.config import ConfigError
from engine.contract import CATALOGUE

TOKEN = "correct-horse"


@pytest.fixture
def guarded(make_worker) -> Iterator[TestClient]:
    agent = make_worker(agent_token=TOKEN)
    yield TestClient(create_app(agent), base_url="http://kv.example:7000")
    agent.workers.abandon()


BAD_AUTHORIZATIONS = [
    None,
    "",
    "Bearer",
    "Bearer ",
    "Bearer wrong",
    f"Bearer {TOKEN}x",
    f"Bearer {TOKEN[:-1]}",
    f"Basic {TOKEN}",
    TOKEN,
    "Bearer \xe9\xff",
]


@pytest.mark.parametrize("authorization", BAD_AUTHORIZATIONS)
def test_token__missing_or_wrong__401_with_challenge(
    guarded: TestClient, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    answer = guarded.get("/conf", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"] == "Unauthorized"
    assert TOKEN not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token__right__answered(guarded: TestClient, scheme: str) -> None:
    answer = guarded.get("/freeze/status", headers={"Authorization": f"{scheme} {TOKEN}"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "endpoint",
    [entry for entry in (*CATALOGUE, *OWN_ENDPOINTS) if entry.path != "/health"],
    ids=lambda entry: entry.operation_id,
)
def test_token__missing__no_endpoint_but_health_answers(guarded: TestClient, endpoint) -> None:
    assert guarded.request(endpoint.method, endpoint.path).status_code == 401


@pytest.mark.parametrize(("method", "path"), [("GET", "/no/such"), ("PATCH", "/conf")])
def test_token__missing__stranger_does_not_learn_which_paths_exist(
    guarded: TestClient, method: str, path: str
) -> None:
    assert guarded.request(method, path).status_code == 401


def test_health__without_a_token__tells_only_that_it_lives(guarded: TestClient) -> None:
    answer = guarded.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7000", "127.0.0.1", "127.1.2.3:80", "[::1]", "[::1]:7000"]
)
def test_host__loopback_name__answered(client: TestClient, host: str) -> None:
    assert client.get("/freeze/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:7000", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("10.0.0.1", "0.0.0.0", "[::]", "", "localhost@evil.example", "evil@localhost", "[::1"),
    ],
)
def test_host__foreign_name_without_a_token__403(client: TestClient, host: str) -> None:
    answer = client.get("/freeze/status", headers={"Host": host})
    assert answer.status_code == 403
    assert answer.json()["error"] == "Forbidden"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1.evil.example"},
        {"Origin": "null"},
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_origin__foreign_without_a_token__403_and_nothing_changes(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert client.put("/freeze/enable", headers=headers).status_code == 403
    assert client.get("/freeze/status").json()["freeze"] is False


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://localhost:8000"}, {"Sec-Fetch-Site": "same-site"}]
)
def test_origin__of_this_machine__answered(client: TestClient, headers: dict[str, str]) -> None:
    assert client.put("/freeze/enable", headers=headers).status_code == 200


def is_refused(host: str, token: str | None) -> bool:
    try:
        check_exposure(host, token)
    except ConfigError:
        return True
    return False


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_exposure__loopback_without_a_token__allowed(host: str) -> None:
    assert not is_refused(host, None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "kv.invalid"])
def test_exposure__other_address_without_a_token__refused_naming_both_keys(host: str) -> None:
    with pytest.raises(ConfigError, match=r"internal_api_server_host.*agent_token"):
        check_exposure(host, None)


def test_exposure__other_address_with_a_token__allowed() -> None:
    assert not is_refused("0.0.0.0", TOKEN)
