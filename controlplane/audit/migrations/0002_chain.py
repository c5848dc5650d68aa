"""Entries become one document each, chained; the database guards them.

What was on record before is written anew in the form of now, numbered without gaps:
it is as trustworthy as it was until this moment, and from here on.
"""

import rfc8785
from django.db import migrations, models

from controlplane.audit import guards
from controlplane.audit.chain import FIRST_KEY, GENESIS, mac_of
from controlplane.audit.columns import PERSISTED, FromDocument
from controlplane.audit.entries import fit, moment
from controlplane.audit.keys import key_ring

_ADDED = ("on_behalf_of", "user_agent", "target", "engine")


def _chain_what_there_is(apps, schema_editor):
    connection = schema_editor.connection
    old = apps.get_model("audit", "UnchainedEntry")
    previous, number = GENESIS, 0
    if old.objects.using(connection.alias).exists():
        key_ring().make_hmac_key(FIRST_KEY)
    for row in old.objects.using(connection.alias).order_by("id").iterator(500):
        number += 1
        document = rfc8785.dumps(_document(row))
        mac = mac_of(key_ring(), document, number, FIRST_KEY, previous)
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO audit_auditentry (id, key_id, previous, mac, document) "
                "VALUES (%s, %s, %s, %s, %s)",
                [number, FIRST_KEY, previous, mac, document.decode()],
            )
        previous = mac


def _document(row):
    return {
        **dict.fromkeys(_ADDED, ""),
        **dict.fromkeys(("before", "after", "diff")),
        "at": moment(row.created_at),
        **{
            name: getattr(row, name)
            for name in (
                *("stage", "action", "request_id", "actor_kind", "actor_name", "actor_ref"),
                *("source_address", "agent", "reason", "outcome", "status", "duration_ms"),
            )
        },
        "operation_id": str(row.operation_id) if row.operation_id else None,
        "target": f"agent:{row.agent}" if row.agent else "",
        "request": fit(row.request),
        "answer": fit(row.answer),
    }


def _guard(apps, schema_editor):
    guards.install(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [("audit", "0001_initial")]

    operations = [
        migrations.RenameModel("AuditEntry", "UnchainedEntry"),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key_id', models.CharField(max_length=16)),
                ('previous', models.CharField(help_text='The mac of the entry before.', max_length=64)),
                ('mac', models.CharField(help_text='HMAC-SHA-256, hexadecimal.', max_length=64)),
                ('document', models.TextField()),
                ('created_at', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('at', models.DateTimeField()), output_field=models.DateTimeField())),
                ('stage', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('stage', models.CharField(choices=[('requested', 'Requested'), ('completed', 'Completed'), ('event', 'Event')], max_length=16)), output_field=models.CharField(choices=[('requested', 'Requested'), ('completed', 'Completed'), ('event', 'Event')], max_length=16))),
                ('action', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('action', models.CharField(max_length=64)), output_field=models.CharField(max_length=64))),
                ('operation_id', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('operation_id', models.UUIDField(null=True)), null=True, output_field=models.UUIDField(null=True))),
                ('request_id', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('request_id', models.CharField(max_length=128)), output_field=models.CharField(max_length=128))),
                ('actor_kind', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('actor_kind', models.CharField(choices=[('user', 'User'), ('token', 'Token'), ('command', 'Command'), ('agent', 'Agent'), ('controller', 'Controller')], max_length=16)), output_field=models.CharField(choices=[('user', 'User'), ('token', 'Token'), ('command', 'Command'), ('agent', 'Agent'), ('controller', 'Controller')], max_length=16))),
                ('actor_name', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('actor_name', models.CharField(max_length=300)), output_field=models.CharField(max_length=300))),
                ('actor_ref', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('actor_ref', models.CharField(max_length=255)), output_field=models.CharField(max_length=255))),
                ('target', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('target', models.CharField(max_length=400)), output_field=models.CharField(max_length=400))),
                ('agent', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('agent', models.CharField(max_length=128)), output_field=models.CharField(max_length=128))),
                ('engine', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('engine', models.CharField(max_length=128)), output_field=models.CharField(max_length=128))),
                ('reason', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('reason', models.CharField(max_length=500)), output_field=models.CharField(max_length=500))),
                ('outcome', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('outcome', models.CharField(max_length=32)), output_field=models.CharField(max_length=32))),
                ('status', models.GeneratedField(db_persist=PERSISTED, expression=FromDocument('status', models.PositiveSmallIntegerField(null=True)), null=True, output_field=models.PositiveSmallIntegerField(null=True))),
            ],
            options={
                'verbose_name_plural': 'audit entries',
                'ordering': ['-id'],
                'base_manager_name': 'objects',
                'indexes': [models.Index(fields=['created_at', 'id'], name='audit_at'), models.Index(fields=['action', 'id'], name='audit_action'), models.Index(fields=['actor_name', 'id'], name='audit_actor'), models.Index(fields=['target', 'id'], name='audit_target'), models.Index(fields=['agent', 'id'], name='audit_agent'), models.Index(fields=['engine', 'id'], name='audit_engine'), models.Index(fields=['outcome', 'id'], name='audit_outcome'), models.Index(fields=['request_id', 'id'], name='audit_request'), models.Index(fields=['operation_id', 'id'], name='audit_operation')],
            },
        ),
        migrations.RunPython(_chain_what_there_is),
        migrations.DeleteModel("UnchainedEntry"),
        migrations.RunPython(_guard),
    ]
