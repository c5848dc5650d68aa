"""Users, tokens, and who may do what, through the generated client."""

import pytest
from kvplane_client import AuthenticatedClient, Client
from kvplane_client.api.agents import delete_agent, list_agents
from kvplane_client.api.freeze import enable_freeze_of_agent
from kvplane_client.api.health import get_health
from kvplane_client.api.index import get_index
from kvplane_client.api.tokens import create_token, get_token, list_tokens, revoke_token
from kvplane_client.api.users import (
    create_user,
    delete_user,
    get_user,
    list_users,
    update_user,
)
from kvplane_client.models import (
    Conflict,
    Error,
    InvalidRequest,
    NewTokenRequest,
    NewUserRequest,
    PatchedUserChangesRequest,
)

from tests.functional.conftest import Stack
from tests.support.controlplane import PASSWORD

pytestmark = pytest.mark.slow


def test_user__made_changed_and_deleted__is_what_was_asked_for(admin: AuthenticatedClient) -> None:
    wanted = NewUserRequest(
        username="grace", password=PASSWORD, role="viewer", email="g@example.org"
    )
    made = create_user.sync(client=admin, body=wanted)
    assert (made.username, made.role, made.email) == ("grace", "viewer", "g@example.org")

    changed = update_user.sync(
        made.id, client=admin, body=PatchedUserChangesRequest(role="operator")
    )
    assert (changed.role, changed.email) == ("operator", "g@example.org")
    assert get_user.sync(made.id, client=admin) == changed
    page = list_users.sync(client=admin, username="grace")
    assert [user.id for user in page.results] == [made.id]

    assert delete_user.sync_detailed(made.id, client=admin).status_code == 204
    assert isinstance(get_user.sync(made.id, client=admin), Error)


def test_user__name_taken__invalid_request_names_the_field(admin: AuthenticatedClient) -> None:
    again = NewUserRequest(username="ada", password=PASSWORD, role="viewer")
    answer = create_user.sync_detailed(client=admin, body=again)
    assert answer.status_code == 400
    assert isinstance(answer.parsed, InvalidRequest)
    assert list(answer.parsed.fields.additional_properties) == ["username"]


def test_user__last_admin__conflict(admin: AuthenticatedClient) -> None:
    (ada,) = list_users.sync(client=admin, username="ada").results
    refused = update_user.sync(
        ada.id, client=admin, body=PatchedUserChangesRequest(is_active=False)
    )
    assert isinstance(refused, Conflict)
    assert refused.error == "Last admin"


def test_token__made_used_and_revoked__is_of_no_use_any_more(
    stack: Stack, admin: AuthenticatedClient
) -> None:
    issued = create_token.sync(client=admin, body=NewTokenRequest(name="grafana", role="viewer"))
    assert issued.token.startswith(issued.details.prefix)
    with stack.client(issued.token) as own:
        assert get_token.sync(issued.details.id, client=own).name == "grafana"
        assert list_agents.sync(client=own).results
        assert revoke_token.sync_detailed(issued.details.id, client=own).status_code == 204
        refused = list_agents.sync_detailed(client=own)
    assert refused.status_code == 401
    assert isinstance(refused.parsed, Error)
    revoked = list_tokens.sync(client=admin, revoked=True)
    assert issued.details.id in [token.id for token in revoked.results]


def test_nobody__without_a_token__unauthorized_but_for_health(anonymous: Client) -> None:
    assert get_health.sync(client=anonymous).status == "ok"
    answer = list_agents.sync_detailed(client=anonymous)
    assert answer.status_code == 401
    assert answer.parsed.error == "Unauthorized"


def test_viewer__reads__but_changes_nothing(viewer: AuthenticatedClient) -> None:
    assert "agents" in get_index.sync(client=viewer).additional_properties
    for answer in (
        enable_freeze_of_agent.sync_detailed("smollm2-worker-0", client=viewer),
        delete_agent.sync_detailed("smollm2-worker-0", client=viewer),
    ):
        assert answer.status_code == 403
        assert isinstance(answer.parsed, Error)
        assert answer.parsed.error == "Forbidden"
