"""What an agent does, what is asked of it, and what is on record of it."""

from controlplane.audit.models import AuditEntry


def talking(method, path):
    return None


def story(agent="worker-0") -> list[tuple[str, str, str]]:
    entries = AuditEntry.objects.filter(agent=agent).order_by("id").exclude(stage="requested")
    return [(entry.action, entry.actor_name, entry.outcome) for entry in entries]


def put(api, path, **headers):
    answer = api.put(f"/agents/worker-0{path}", headers=headers)
    assert answer.status_code == 200, answer.content
    return answer


def post_conf(api, **values):
    answer = api.post("/agents/worker-0/conf", data=values, format="json")
    assert answer.status_code == 200, answer.content
    return answer
