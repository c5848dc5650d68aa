"""OpenAPI and the browsable API."""

import pytest
from django.core.management import call_command
from django.test import Client

from controlplane.accounts.models import UserRole
from tests.support.document import controlplane_document, operations_of


def test_openapi__document__is_valid_and_without_warnings(tmp_path, capfd):
    file = tmp_path / "schema.yml"
    # Raises CommandError for what is not.
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(file))

    assert file.read_text("utf-8").startswith("openapi: 3.1.1\n")
    told = capfd.readouterr().err
    assert "Warning" not in told
    assert "Error" not in told


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/docs/", "/api/redoc/"])
def test_docs__come_from_installed_packages(path):
    page = Client().get(path).content.decode()

    assert "/static/drf_spectacular_sidecar/" in page
    assert "cdn." not in page
    script = page.split('src="/static/')[1].split('"')[0]
    response = Client().get(f"/static/{script}")
    assert response.status_code == 200
    response.close()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "agents",
        "users",
        "tokens",
        "audit",
        "operations",
        "engines",
        "config-revisions",
        "modes",
        "mode-changes",
        "chunk-statistics",
        "tier-statistics",
        "watches",
        "controllers",
    ],
)
def test_browsable_api__browser__gets_a_page_and_everything_else_json(make_user, path):
    client = Client()
    client.force_login(make_user(UserRole.ADMIN))

    page = client.get(f"/api/v1/{path}/", headers={"accept": "text/html,*/*;q=0.8"})
    assert page["Content-Type"].startswith("text/html")
    assert client.get(f"/api/v1/{path}/", headers={"accept": "*/*"})["Content-Type"] == (
        "application/json"
    )


@pytest.mark.django_db
def test_browsable_api__anonymous_browser__is_offered_to_log_in():
    page = Client().get("/api/v1/agents/", headers={"accept": "text/html"})

    assert page.status_code == 401
    assert "/api/auth/login/" in page.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        operation.path
        for operation in operations_of(controlplane_document())
        if operation.method == "GET" and operation.path.startswith("/api/v1/")
        if "{" not in operation.path
    ],
)
def test_path__with_and_without_trailing_slash__answers_the_same(viewer_api, path):
    with_slash, without = (viewer_api.get(spelt) for spelt in (path, path.rstrip("/")))

    assert with_slash.status_code == without.status_code != 404
    assert with_slash["Content-Type"] == without["Content-Type"]
