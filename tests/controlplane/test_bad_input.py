"""Whatever is sent to `/api/v1/`: 4xx with a reason, never 5xx."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.django_db
LISTS = [
    "users",
    "tokens",
    "audit",
    "engines",
    "agents",
    "enrolment-tokens",
    "operations",
    "config-revisions",
    "modes",
    "mode-changes",
    "chunk-statistics",
    "tier-statistics",
    "watches",
    "controllers",
]


def cursor(text: str) -> str:
    return quote(base64.b64encode(text.encode()).decode())


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("cursor=nonsense", "cursor"),
        ("cursor=%C3%BC", "cursor"),
        (f"cursor={cursor('p=a%00b')}", "cursor"),
        (f"cursor={cursor('o=99999999999999')}", None),
        (f"cursor={cursor('p=' + '9' * 30)}", None),
        ("page_size=0", "page_size"),
        ("page_size=9999999999999999999999", "page_size"),
        ("page_size=x", "page_size"),
        ("ordering=password", "ordering"),
        ("ordering=-digest", "ordering"),
        ("ordering=,,", None),
    ],
)
def test_list__bad_paging_or_ordering__is_400_naming_it(admin_api, name, query, field):
    response = admin_api.get(f"/api/v1/{name}/?{query}")

    assert response.status_code < 500
    if field is not None:
        assert response.status_code == 400
        assert field in response.json()["fields"]
        assert field in response.json()["message"]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("audit/?since=yesterday", "since"),
        ("audit/?since=0001-01-01T00:00:00%2B14:00", "since"),
        ("audit/?until=9999-12-31T23:59:59-14:00", "until"),
        ("audit/?operation=1", "operation"),
        ("audit/?stage=maybe", "stage"),
        ("operations/?state=maybe", "state"),
        ("operations/?since=99999999999999999999", "since"),
        ("agents/?role=boss", "role"),
        ("agents/?dialect=klingon", "dialect"),
        ("users/?role=boss", "role"),
    ],
)
def test_list__bad_filter__is_400_naming_it(admin_api, path, field):
    response = admin_api.get(f"/api/v1/{path}")

    assert response.status_code == 400
    assert field in response.json()["fields"]


@pytest.mark.parametrize(
    "path",
    ["agents/?name=a%00b", "audit/?actor=%00", "audit/%00/", "agents/a%00b/", "x?y=%00"],
)
def test_nul__anywhere_in_the_url__is_400_or_404(admin_api, path):
    response = admin_api.get(f"/api/v1/{path}")

    assert response.status_code == 400
    assert set(response.json()) == {"error", "message"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"name": NaN}',
        b'{"name": 1e999}',
        b'{"name": ' + b"9" * 5000 + b"}",
        b'{"name": "a", "name": "b"}',
        b'{"name": "a\\u0000b"}',
        b'{"a\\u0000": 1}',
        b'{"name": "\\ud800"}',
        b'{"labels": ' + b"[" * 100000 + b"}",
        b"\xff\xfe",
        b'{"name": "' + b"x" * (2 << 20) + b'"}',
    ],
)
@pytest.mark.parametrize(
    "path", ["agents", "engines", "users", "tokens", "enrolment-tokens", "operations"]
)
def test_body__that_is_no_good__is_400(admin_api, path, body):
    response = admin_api.generic("POST", f"/api/v1/{path}/", body, content_type="application/json")

    assert response.status_code in (400, 403)
    assert {"error", "message"} <= set(response.json())


def test_body__not_json__is_415(admin_api):
    response = admin_api.generic("POST", "/api/v1/agents/", b"<a/>", content_type="text/xml")

    assert response.status_code == 415


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "name",
        "engine",
        "role",
        "worker_id",
        "url",
        "token",
        "labels",
        "dialect",
        "expires_at",
        "username",
        "password",
        "email",
        "user",
        "instance_id",
        "agent_token",
        "boot_id",
    ]
)
PATHS = ["agents/", "engines/", "users/", "tokens/", "enrolment-tokens/", "enrol"]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    path=st.sampled_from(
        ["agents/", "engines/", "users/", "tokens/", "enrolment-tokens/", "enrol"]
    ),
    body=st.dictionaries(FIELDS, JSON, max_size=8),
)
def test_body__any_json__never_breaks_the_server(admin_api, path, body):
    response = admin_api.post(f"/api/v1/{path}", body, format="json")

    assert response.status_code < 500, response.content


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/nothing/", "/api/v1/agents/nobody/"])
def test_unknown_path__is_404_as_json(admin_api, path):
    response = admin_api.get(path)

    assert response.status_code == 404
    assert set(response.json()) == {"error", "message"}


def test_wrong_method__is_405_with_allow(admin_api):
    response = admin_api.delete("/api/v1/agents/")

    assert response.status_code == 405
    assert "POST" in response["Allow"]
    assert set(response.json()) == {"error", "message"}


@pytest.mark.parametrize("path", ["/api/v1/agents", "/api/v1/agents/"])
def test_trailing_slash__or_none__answers_the_same(viewer_api, path):
    assert viewer_api.get(path).status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [("my-id.1", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("ü", False)],
)
def test_request_id__is_taken_when_sane_and_made_when_not(viewer_api, given, kept):
    returned = viewer_api.get("/api/v1/agents/", HTTP_X_REQUEST_ID=given)["X-Request-ID"]

    assert (returned == given) is kept
    assert returned


def test_failure_of_our_own__is_500_as_json_without_details(viewer_api, monkeypatch):
    from controlplane.fleet.views import AgentViewSet

    def broken(self):
        raise RuntimeError("inner secret")

    monkeypatch.setattr(AgentViewSet, "get_queryset", broken)
    response = viewer_api.get("/api/v1/agents/")

    assert response.status_code == 500
    assert "secret" not in response.content.decode()
    assert set(response.json()) == {"error", "message"}
