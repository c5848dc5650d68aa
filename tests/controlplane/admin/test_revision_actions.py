"""Rolling an agent's configuration back from the admin."""

import pytest

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.configuration.models import ConfigRevision
from controlplane.operations.models import Operation

pytestmark = pytest.mark.django_db
LIST = "/admin/configuration/configrevision/"
PAGE = f"{LIST}confirm/roll_back/"
BUTTON = 'name="confirm"'


@pytest.fixture
def changed(fleet, operator_api):
    """An agent whose configuration was changed twice; its revisions by number."""
    agent, simulated = fleet("worker-0")
    for value in (64, 512):
        body = {"min_retrieve_tokens": value}
        assert operator_api.post("/agents/worker-0/conf", body, format="json").status_code == 200
    revisions = {revision.number: revision for revision in ConfigRevision.objects.all()}
    return agent, simulated, revisions


def test_confirm__shows_what_the_agent_would_get(page_as, changed):
    _, _, revisions = changed

    answer = page_as(UserRole.OPERATOR).get(PAGE, {"key": revisions[2].pk})

    text = answer.content.decode()
    assert "Active now: revision 3." in text
    assert "min_retrieve_tokens" in text
    assert '<td class="kvp-before">512</td><td class="kvp-after">64</td>' in text
    assert '<input type="hidden" name="expected" value="3">' in text


def test_roll_back__with_a_reason__makes_a_new_revision(page_as, changed):
    _, simulated, revisions = changed
    sent = {"keys": str(revisions[2].pk), "reason": "slower than before", "expected": "3"}

    answer = page_as(UserRole.OPERATOR).post(PAGE, sent, follow=True)

    assert simulated.conf["min_retrieve_tokens"] == 64
    made = ConfigRevision.objects.get(number=4)
    assert (made.restored_from, made.state, made.reason) == (2, "active", "slower than before")
    assert (
        answer.redirect_chain[-1][0] == f"/admin/operations/operation/{made.operation_id}/change/"
    )
    assert "worker-0: succeeded" in answer.content.decode()
    shown = page_as(UserRole.VIEWER).get(f"{LIST}{made.pk}/change/").content.decode()
    assert f'<a href="{LIST}{revisions[2].pk}/change/">r2</a>' in shown
    assert f"/admin/operations/operation/{made.operation_id}/change/" in shown
    entries = AuditEntry.objects.filter(operation_id=made.operation_id)
    assert {entry.reason for entry in entries} == {"slower than before"}


def test_roll_back__another_revision_became_active_meanwhile__is_refused(
    page_as, changed, operator_api
):
    _, simulated, revisions = changed
    operator_api.post("/agents/worker-0/conf", {"save_decode_cache": True}, format="json")
    sent = {"keys": str(revisions[2].pk), "reason": "r", "expected": "3"}

    answer = page_as(UserRole.OPERATOR).post(PAGE, sent)

    assert answer.status_code == 409
    assert simulated.conf["min_retrieve_tokens"] == 512
    assert "Nothing was done yet" in answer.content.decode()
    assert "Active now: revision 4." in answer.content.decode()


def test_roll_back__no_reason__is_told_at_the_field(page_as, changed):
    _, simulated, revisions = changed

    sent = {"keys": str(revisions[2].pk), "expected": "3"}
    answer = page_as(UserRole.OPERATOR).post(PAGE, sent)

    assert answer.context["form"].errors.keys() == {"reason"}
    assert simulated.conf["min_retrieve_tokens"] == 512


@pytest.mark.parametrize("expected", [{}, {"expected": ""}])
def test_roll_back__without_the_revision_that_was_shown__is_refused(page_as, changed, expected):
    _, simulated, revisions = changed
    sent = {"keys": str(revisions[2].pk), "reason": "r", **expected}

    answer = page_as(UserRole.OPERATOR).post(PAGE, sent)

    assert answer.context["form"].errors.keys() == {"expected"}
    assert "look at it again" in answer.content.decode()
    assert simulated.conf["min_retrieve_tokens"] == 512


def test_confirm__agent_does_not_take_a_value_any_more__has_no_button(page_as, changed):
    _, simulated, revisions = changed
    client = page_as(UserRole.OPERATOR)
    assert BUTTON in client.get(PAGE, {"key": revisions[2].pk}).content.decode()
    narrowed = {**simulated.schema["min_retrieve_tokens"], "minimum": 100}
    simulated.schema = {**simulated.schema, "min_retrieve_tokens": narrowed}

    text = client.get(PAGE, {"key": revisions[2].pk}).content.decode()

    assert "What the agent does not take any more" in text
    assert BUTTON not in text


def test_roll_back__agent_that_does_not_answer__says_so_and_has_no_button(page_as, changed):
    from controlplane.forwarding.transport import NotSent

    _, simulated, revisions = changed

    def refuse(method, path):
        raise NotSent("Connection refused")

    simulated.before = refuse
    answer = page_as(UserRole.OPERATOR).get(PAGE, {"key": revisions[2].pk})

    assert answer.status_code == 200
    assert "Cannot connect to agent" in answer.content.decode()
    assert BUTTON not in answer.content.decode()


def test_roll_back__several_selected__asks_for_one(page_as, changed):
    _, _, revisions = changed
    sent = {"action": "roll_back", "_selected_action": [r.pk for r in revisions.values()]}

    answer = page_as(UserRole.OPERATOR).post(LIST, sent, follow=True)

    assert "select one, not several" in answer.content.decode()


def test_button__only_what_was_active_once__and_only_for_operators(page_as, changed):
    _, _, revisions = changed

    def has_button(role: UserRole, number: int) -> bool:
        page = page_as(role).get(f"{LIST}{revisions[number].pk}/change/")
        return PAGE in page.content.decode()

    assert has_button(UserRole.OPERATOR, 2)
    assert not has_button(UserRole.OPERATOR, 3)
    assert not has_button(UserRole.VIEWER, 2)


def test_viewer__may_not(page_as, changed):
    _, simulated, revisions = changed
    count = Operation.objects.count()
    client = page_as(UserRole.VIEWER)

    assert client.get(PAGE, {"key": revisions[2].pk}).status_code == 403
    assert client.post(PAGE, {"keys": revisions[2].pk, "reason": "r"}).status_code == 403
    assert (simulated.conf["min_retrieve_tokens"], Operation.objects.count()) == (512, count)


def test_page__difference__is_a_table(page_as, changed):
    _, _, revisions = changed

    text = page_as(UserRole.VIEWER).get(f"{LIST}{revisions[3].pk}/change/").content.decode()

    assert '<th scope="row">min_retrieve_tokens</th><td class="kvp-before">64</td>' in text
