"""What a settled revision says does not change any more, whoever asks."""

from django.db import migrations

_FIXED = (
    "agent",
    "number",
    "restored_from",
    "source",
    "requested",
    "values",
    "diff",
    "sealed",
    "parent",
    "operation_id",
    "actor_name",
    "reason",
    "created_at",
)
_SETTLED = "OLD.state IN ('active', 'superseded', 'failed')"
_MESSAGE = "settled configuration revisions do not change"


def _install(apps, schema_editor):
    quote = schema_editor.quote_name
    if schema_editor.connection.vendor == "sqlite":
        changed = " OR ".join(f"NEW.{quote(name)} IS NOT OLD.{quote(name)}" for name in _FIXED)
        schema_editor.execute(
            "CREATE TRIGGER configuration_revision_immutable "
            "BEFORE UPDATE ON configuration_configrevision "
            f"WHEN {_SETTLED} AND ({changed} OR NOT (NEW.state = OLD.state OR "
            "(OLD.state = 'active' AND NEW.state = 'superseded'))) "
            f"BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
        )
        return
    changed = " OR ".join(
        f"NEW.{quote(name)} IS DISTINCT FROM OLD.{quote(name)}" for name in _FIXED
    )
    schema_editor.execute(
        "CREATE FUNCTION configuration_revision_immutable() RETURNS trigger AS $$ "
        f"BEGIN IF {_SETTLED} AND ({changed} OR NOT (NEW.state = OLD.state OR "
        "(OLD.state = 'active' AND NEW.state = 'superseded'))) "
        f"THEN RAISE EXCEPTION '{_MESSAGE}' USING ERRCODE = 'integrity_constraint_violation'; "
        "END IF; RETURN NEW; END $$ LANGUAGE plpgsql",
        params=None,
    )
    schema_editor.execute(
        "CREATE TRIGGER configuration_revision_immutable BEFORE UPDATE "
        "ON configuration_configrevision FOR EACH ROW "
        "EXECUTE FUNCTION configuration_revision_immutable()"
    )


def _remove(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TRIGGER configuration_revision_immutable")
        return
    schema_editor.execute(
        "DROP TRIGGER configuration_revision_immutable ON configuration_configrevision"
    )
    schema_editor.execute("DROP FUNCTION configuration_revision_immutable()")


class Migration(migrations.Migration):
    dependencies = [("configuration", "0001_initial")]

    operations = [migrations.RunPython(_install, _remove)]
