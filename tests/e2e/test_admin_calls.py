"""Every documented endpoint through the admin's Calls page and through the API, to real
agents: the same status, and the same on record."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from engine.contract import CATALOGUE, Endpoint, Role
from tests.support.admin_site import Site, running_site, token_of

pytestmark = pytest.mark.slow
ENDPOINTS = {entry.operation_id: entry for entry in CATALOGUE}
# What the agent can do with the catalogue's examples depends on what it holds.
GIVEN = {
    "check_kvcache": {"slot_mapping": "0,1,2,3", "chunk_size": "2"},
    "store_cache": {"tokens_mock": "0,32"},
    "retrieve_cache": {"tokens_mock": "0,32"},
    "query_lookup": {"tokens_mock": "0,32"},
    "get_conf": {"names": "chunk_size"},
    "get_meta": {"names": "model_name"},
    "update_conf": {"atomic": "true"},
    "clear_cache": {"locations": "LocalCPUBackend"},
    "add_bypass": {"backend_name": "LocalDiskBackend"},
    "remove_bypass": {"backend_name": "LocalDiskBackend"},
    "record_slot": {"enabled": "true"},
}
BODIES = {
    "update_conf": {"min_retrieve_tokens": 32},
    "load_fs_chunks": {"config_path": "/no/such/file.yaml"},
}
# Those that tell how often it was asked, or what is there by now.
_VARIES = frozenset(
    {"answer", "before", "after", "diff", "id", "created_at", "request_id", "operation_id", "links"}
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="module")
def session(site: Site) -> Iterator[httpx.Client]:
    with site.session() as client:
        yield client


def agent_for(endpoint: Endpoint) -> str:
    return "worker-0" if Role.WORKER in endpoint.component.default_roles else "scheduler"


def call_by_admin(session: httpx.Client, name: str, request_id: str) -> httpx.Response:
    endpoint = ENDPOINTS[name]
    page = session.get(f"/admin/fleet/agent/named/{agent_for(endpoint)}/").headers["location"]
    path = f"{page.removesuffix('change/')}call/{name}/"
    headers = {"X-Request-ID": request_id}
    fields = GIVEN.get(name, {})
    if endpoint.action is None:
        return session.get(path, params={"sent": "1", **fields}, headers=headers)
    fields = {**fields, "reason": "deploy", **token_of(session)}
    if name in BODIES:
        fields["body"] = json.dumps(BODIES[name])
    return session.post(path, data=fields, headers=headers)


def call_by_api(session: httpx.Client, name: str, request_id: str) -> httpx.Response:
    endpoint = ENDPOINTS[name]
    headers = {
        "X-Request-ID": request_id,
        "X-KVPlane-Reason": "deploy",
        "X-CSRFToken": session.cookies["kvplane_csrf"],
    }
    return session.request(
        endpoint.method,
        f"/agents/{agent_for(endpoint)}{endpoint.path}",
        params=GIVEN.get(name, {}),
        json=BODIES.get(name),
        headers=headers,
    )


def told(site: Site, request_id: str) -> list[dict[str, object]]:
    """What the request left on record, but for what differs from call to call."""
    entries = site.audit(request_id=request_id)
    return [
        {
            name: value
            for name, value in entry.items()
            if name not in _VARIES and not name.startswith(("duration", "mac", "prev", "key"))
        }
        for entry in entries
    ]


@pytest.mark.parametrize("name", sorted(ENDPOINTS))
def test_call__by_admin_and_by_api__same_answer_and_same_record(
    site: Site, session: httpx.Client, name: str
) -> None:
    # A first one, after which both others find the same.
    call_by_api(session, name, f"{name}-first")
    by_api = call_by_api(session, name, f"{name}-api")
    by_admin = call_by_admin(session, name, f"{name}-admin")

    assert by_admin.status_code == by_api.status_code
    expected = {"/inference_version": 503, "/cache/load-fs-chunks": 400}
    assert by_admin.status_code == expected.get(ENDPOINTS[name].path, 200), by_admin.text
    assert re.search(rf"answered {by_api.status_code}|<h2>{by_api.status_code} ", by_admin.text)
    entries = told(site, f"{name}-admin")
    others = told(site, f"{name}-api")
    if ENDPOINTS[name].action is None:
        assert len(entries) == 1
        for entry in (*entries, *others):
            # A read is recorded with its path, which is another one.
            entry.pop("request")
    else:
        assert [entry["stage"] for entry in entries] == ["completed", "requested"]
        assert {entry["reason"] for entry in entries} == {"deploy"}
    assert entries == others
