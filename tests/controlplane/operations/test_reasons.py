"""Why somebody cancels or retries: in their own words, and only one retry at a time."""

import pytest

from controlplane.audit.models import AuditEntry
from controlplane.operations.models import Operation
from tests.controlplane.commands.running import run, run_json

from .asking import URL, done, refuse

pytestmark = pytest.mark.django_db(transaction=True)
GIVEN = [
    ("", {"X-KVPlane-Reason": "it answers again"}),
    ("reason=it+answers+again", {}),
]


@pytest.fixture
def failed(operator_api, fleet) -> str:
    """The id of an operation that failed on its agent, which would do it now."""
    _, simulated = fleet()
    simulated.before = refuse
    identifier = str(done(operator_api, reason="maintenance at 14:00")["id"])
    simulated.before = lambda method, path: None
    return identifier


@pytest.fixture
def waiting(make_agent) -> str:
    """The id of an operation that nobody carries out."""
    make_agent()
    return str(run_json("freeze", "enable", "--all", "--wait", "0").document["id"])


@pytest.mark.parametrize(("query", "headers"), GIVEN)
def test_retry__reason_given_over_the_api__is_its_reason(operator_api, failed, query, headers):
    answer = operator_api.post(f"{URL}{failed}/retry?wait=10&{query}", headers=headers)

    assert answer.json()["reason"] == "it answers again"


def test_retry__no_reason__does_not_sign_the_words_of_somebody_else(operator_api, failed):
    retry = operator_api.post(f"{URL}{failed}/retry?wait=10").json()

    assert retry["reason"] == f"retries operation {failed}"
    requested = AuditEntry.objects.get(operation_id=retry["id"], stage="requested", agent="")
    assert requested.reason == f"retries operation {failed}"


def test_retry__reason_given_to_the_command__is_its_reason(failed):
    retry = run_json("operations", "retry", failed, "--reason", "it answers again")

    assert retry.document["reason"] == "it answers again"


def test_retry__bad_reason__400_and_nothing_is_planned(operator_api, failed):
    answer = operator_api.post(f"{URL}{failed}/retry?reason={'x' * 501}")

    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid reason")
    assert not Operation.objects.filter(retry_of=failed).exists()


def test_retry__while_one_is_not_finished__409_names_it(operator_api, failed):
    first = run_json("operations", "retry", failed, "--wait", "0").document["id"]

    answer = operator_api.post(f"{URL}{failed}/retry")

    assert (answer.status_code, answer.json()["error"]) == (409, "Retried already")
    assert first in answer.json()["message"]
    assert Operation.objects.filter(retry_of=failed).count() == 1


@pytest.mark.parametrize(("query", "headers"), GIVEN)
def test_cancel__reason_given_over_the_api__is_on_record(operator_api, waiting, query, headers):
    answer = operator_api.post(f"{URL}{waiting}/cancel?{query}", headers=headers)

    assert answer.status_code == 200
    assert AuditEntry.objects.get(action="operation.cancel").reason == "it answers again"


def test_cancel__reason_given_to_the_command__is_on_record(waiting):
    assert run("operations", "cancel", waiting, "--reason", "wrong fleet").exit == 0

    assert AuditEntry.objects.get(action="operation.cancel").reason == "wrong fleet"
