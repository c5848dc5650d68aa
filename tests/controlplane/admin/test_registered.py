"""Every model has its pages, they open, and what is history is only read."""

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.urls import reverse

from controlplane.accounts.models import UserRole
from controlplane.audit.models import AuditEntry
from controlplane.rest.admin import ReadOnlyModelAdmin

pytestmark = pytest.mark.django_db
MODELS = [
    model
    for config in apps.get_app_configs()
    if config.name.startswith("controlplane")
    for model in config.get_models()
]
FOR_ADMINS = {"accounts.User", "accounts.ApiToken", "fleet.EnrolmentToken"}
HISTORY = {
    "audit.AuditEntry",
    "configuration.ConfigRevision",
    "modes.ModeChange",
    "statistics.ChunkStatisticsSnapshot",
    "statistics.TierStatisticsSnapshot",
    "operations.Operation",
    "operations.OperationTarget",
}
by_label = pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)


def url(model, page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def test_models__all_of_them__are_registered():
    assert len(MODELS) > 12
    assert [model for model in MODELS if not site.is_registered(model)] == []


@by_label
@pytest.mark.parametrize("role", list(UserRole))
def test_pages__by_role__open_or_are_refused(page_as, populate, model, role):
    populate(2)
    client = page_as(role)
    allowed = role is UserRole.ADMIN or model._meta.label not in FOR_ADMINS
    expected = 200 if allowed else 403

    assert client.get(url(model, "changelist")).status_code == expected
    for record in model._default_manager.all()[:2]:
        assert client.get(url(model, "change", record.pk)).status_code == expected


@by_label
def test_links__of_list_and_page__lead_somewhere(page_as, populate, model):
    populate(1)
    client = page_as(UserRole.ADMIN)
    record = model._default_manager.first()
    seen: set[str] = set()
    for page in (url(model, "changelist"), url(model, "change", record.pk)):
        text = client.get(page).content.decode()
        seen |= {
            link.split('"')[0].replace("&amp;", "&") for link in text.split('href="/admin/')[1:]
        }
    # Logging out is by a form; deleting has its own test.
    links = {link for link in seen if "logout" not in link and "/delete/" not in link}

    assert len(links) > 5
    assert url(model, "change", record.pk).removeprefix("/admin/") in {
        link.split("?")[0] for link in links
    }
    # A link in a link is none.
    assert '/"></a>' not in client.get(url(model, "changelist")).content.decode()
    for link in sorted(links):
        answer = client.get(f"/admin/{link}", follow=True)
        assert answer.status_code == 200, link


@pytest.mark.parametrize("label", sorted(HISTORY))
def test_history__admin__can_neither_add_nor_change_nor_delete(page_as, populate, label):
    model = apps.get_model(label)
    populate(1)
    client = page_as(UserRole.ADMIN)
    record = model._default_manager.first()

    assert issubclass(type(site.get_model_admin(model)), ReadOnlyModelAdmin)
    assert client.get(url(model, "add")).status_code == 403
    assert client.post(url(model, "change", record.pk), {}).status_code == 403
    assert client.post(url(model, "delete", record.pk), {"post": "yes"}).status_code == 403
    sent = {"action": "delete_selected", "_selected_action": [record.pk], "post": "yes"}
    client.post(url(model, "changelist"), sent)
    assert model._default_manager.filter(pk=record.pk).exists()


def test_secret__of_agent_token_and_revision__stands_on_no_page(page_as, populate, make_agent):
    populate(1)
    agent = make_agent("keeper", worker_id=7, token="hush-hush-1")
    client = page_as(UserRole.ADMIN)

    for page in (url(type(agent), "changelist"), url(type(agent), "change", agent.pk)):
        text = client.get(page).content.decode()
        assert "hush-hush-1" not in text
        assert agent.encrypted_token not in text


def test_named__agent_that_was_removed__shows_what_is_on_record(page_as, populate):
    agent = populate(1)[0]
    agent.delete()

    answer = page_as(UserRole.VIEWER).get("/admin/fleet/agent/named/worker-0/", follow=True)

    assert answer.redirect_chain[-1][0] == "/admin/audit/auditentry/?agent=worker-0"
    assert "No agent is called" in answer.content.decode()
    shown = answer.context["cl"].result_list
    assert {entry.agent for entry in shown} == {"worker-0"}
    assert len(shown) == AuditEntry.objects.filter(agent="worker-0").count()
