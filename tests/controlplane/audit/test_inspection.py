"""Guards that were taken away, changed or got round: verifying names them."""

import pytest
from django.db import connection, transaction

from controlplane.accounts.models import User
from controlplane.audit import guards, inspection
from controlplane.audit.models import AuditEntry
from controlplane.audit.reports import Kind

ON_SQLITE = {
    "a trigger is dropped": ("audit_refuse_update", ["DROP TRIGGER audit_refuse_update"]),
    "the index of text is no longer kept": (
        "audit_index_changes",
        ["DROP TRIGGER audit_index_changes"],
    ),
    "a trigger never fires": (
        "audit_refuse_delete",
        [
            "DROP TRIGGER audit_refuse_delete",
            "CREATE TRIGGER audit_refuse_delete BEFORE DELETE ON audit_auditentry WHEN 0 "
            "BEGIN SELECT RAISE(ABORT, 'audit entries are append-only'); END",
        ],
    ),
}
ON_POSTGRESQL = {
    "a trigger is dropped": (
        "audit_refuse_update",
        ["DROP TRIGGER audit_refuse_update ON audit_auditentry"],
    ),
    "a trigger is switched off": (
        "audit_refuse_truncate",
        ["ALTER TABLE audit_auditentry DISABLE TRIGGER audit_refuse_truncate"],
    ),
    "a function does nothing": (
        "audit_refuse",
        [
            "CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger AS "
            "$$ BEGIN RETURN NEW; END $$ LANGUAGE plpgsql"
        ],
    ),
    "a trigger never fires": (
        "audit_refuse_delete",
        [
            "DROP TRIGGER audit_refuse_delete ON audit_auditentry",
            "CREATE TRIGGER audit_refuse_delete BEFORE DELETE ON audit_auditentry "
            "FOR EACH ROW WHEN (false) EXECUTE FUNCTION audit_refuse()",
        ],
    ),
    "a column says something else": (
        "actor_name",
        [
            "ALTER TABLE audit_auditentry DROP COLUMN actor_name",
            "ALTER TABLE audit_auditentry ADD COLUMN actor_name varchar(300) GENERATED ALWAYS "
            "AS (replace((document::json ->> 'actor_name'), 't', 'innocent')) STORED",
        ],
    ),
    "a rule keeps entries out": (
        "quiet",
        ["CREATE RULE quiet AS ON INSERT TO audit_auditentry WHERE new.id < 0 DO INSTEAD NOTHING"],
    ),
    "row security hides entries": (
        "row security",
        ["ALTER TABLE audit_auditentry ENABLE ROW LEVEL SECURITY"],
    ),
}
SWALLOW = {
    "sqlite": [
        "CREATE TRIGGER quiet BEFORE INSERT ON audit_auditentry "
        "WHEN NEW.document LIKE '%mallory%' BEGIN SELECT RAISE(IGNORE); END"
    ],
    "postgresql": [
        "CREATE FUNCTION quiet() RETURNS trigger AS $$ BEGIN IF position('mallory' in "
        "NEW.document) > 0 THEN RETURN NULL; END IF; RETURN NEW; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER quiet BEFORE INSERT ON audit_auditentry "
        "FOR EACH ROW EXECUTE FUNCTION quiet()",
    ],
}


def execute(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.mark.parametrize("case", sorted({*ON_SQLITE, *ON_POSTGRESQL}))
def test_verify__guards_are_changed__names_what(log, check, case):
    cases = ON_POSTGRESQL if connection.vendor == "postgresql" else ON_SQLITE
    if case not in cases:
        pytest.skip(f"not on {connection.vendor}")
    name, statements = cases[case]
    execute(*statements)
    problem = check().problem

    assert problem is not None
    assert problem.kind is Kind.UNGUARDED
    assert name in problem.message


def test_guards__as_they_were_made__have_no_fault(db):
    assert inspection.faults(connection) == []


def test_guards__lifted_for_work_that_fails__are_back(log):
    with pytest.raises(RuntimeError), transaction.atomic(), guards.lifted(connection):
        raise RuntimeError("archiving failed")

    assert inspection.faults(connection) == []


def test_change__trigger_swallows_its_entry__is_not_made_and_verifying_tells(log, check, admin_api):
    execute(*SWALLOW[connection.vendor])
    answer = admin_api.post(
        "/api/v1/users/",
        {"username": "mallory", "password": "correct-horse-battery", "role": "admin"},
        format="json",
    )

    assert answer.status_code == 503
    assert not User.objects.filter(username="mallory").exists()
    assert not AuditEntry.objects.filter(action="user.create", request_id="mallory").exists()
    problem = check().problem
    assert problem is not None
    assert (problem.kind, "quiet (not ours)" in problem.message) == (Kind.UNGUARDED, True)
