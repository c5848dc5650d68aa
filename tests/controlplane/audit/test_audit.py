"""The audit log: append-only, readable."""

import pytest

from controlplane.audit import services
from controlplane.audit.actors import Actor, ActorKind
from controlplane.audit.models import AppendOnlyError, AuditEntry

ACTOR = Actor(ActorKind.USER, "ada", "user:1", "10.0.0.1")


@pytest.fixture(autouse=True)
def _any_action(monkeypatch) -> None:
    """What happened is of no interest here."""
    monkeypatch.setattr(services, "check_action", lambda action: None)


@pytest.fixture
def entry(db) -> AuditEntry:
    return services.record(action="thing.done", actor=ACTOR, request_id="r")


def test_entry__saved_again__is_refused(entry):
    entry.actor_name = "mallory"
    with pytest.raises(AppendOnlyError):
        entry.save()
    assert AuditEntry.objects.get().actor_name == "ada"


def test_entry__deleted__is_refused(entry):
    with pytest.raises(AppendOnlyError):
        entry.delete()
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda: AuditEntry.objects.update(actor_name="mallory"),
        lambda: AuditEntry.objects.all().delete(),
        lambda: AuditEntry.objects.filter(actor_name="ada").update(reason="x"),
        lambda: AuditEntry.objects.bulk_update([AuditEntry.objects.get()], ["reason"]),
        lambda: AuditEntry.objects.update_or_create(id=1, defaults={"reason": "x"}),
        lambda: AuditEntry.objects.bulk_create([AuditEntry(document="{}")]),
        lambda: AuditEntry.objects.create(document="{}"),
        lambda: AuditEntry.objects.get_or_create(id=7),
        lambda: AuditEntry._default_manager.all()._raw_delete("default"),
        lambda: AuditEntry._base_manager.all().delete(),
        lambda: AuditEntry._base_manager.all().update(reason="x"),
    ],
)
def test_entries__changed_through_a_query_set__is_refused(entry, change):
    with pytest.raises(AppendOnlyError):
        change()
    assert AuditEntry.objects.get().actor_name == "ada"


@pytest.mark.django_db
def test_record__reason_with_secrets__is_redacted_and_fits():
    reason = "redis://u:hush@h " + "http://a@ " * 48
    entry = services.record(action="a.b", actor=ACTOR, request_id="r", reason=reason)

    entry.refresh_from_db()
    assert entry.reason.startswith("redis://***@h http://***@")
    assert len(entry.reason) <= 500


@pytest.mark.django_db
def test_audit_list__filters__select(viewer_api):
    AuditEntry.objects.all()
    services.record(action="a.b", actor=ACTOR, request_id="one", agent="worker-0")
    services.record(action="c.d", actor=ACTOR, request_id="two", outcome="failed")

    def ids(query: str) -> list[str]:
        results = viewer_api.get(f"/api/v1/audit/?{query}").json()["results"]
        return [entry["request_id"] for entry in results if entry["request_id"] != "setup"]

    assert ids("") == ["two", "one"]
    assert ids("ordering=id") == ["one", "two"]
    assert ids("action=a.b") == ["one"]
    assert ids("agent=worker-0") == ["one"]
    assert ids("outcome=failed") == ["two"]
    assert ids("actor=ada") == ["two", "one"]
    assert ids("until=2000-01-01T00:00:00Z") == []
    assert ids("since=2000-01-01T00:00:00Z&stage=event") == ["two", "one"]


@pytest.mark.django_db
def test_audit_list__pages__hold_every_entry_once(viewer_api):
    for number in range(7):
        services.record(action="a.b", actor=ACTOR, request_id=str(number))

    url, seen = "/api/v1/audit/?action=a.b&page_size=3", []
    while url:
        page = viewer_api.get(url).json()
        seen += [entry["request_id"] for entry in page["results"]]
        url = page["next"]

    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_audit__written_over_http__is_405(admin_api, entry, method):
    response = getattr(admin_api, method)(f"/api/v1/audit/{entry.pk}/", {}, format="json")

    assert response.status_code == 405
    assert "GET" in response["Allow"]
    assert AuditEntry.objects.filter(pk=entry.pk).exists()
