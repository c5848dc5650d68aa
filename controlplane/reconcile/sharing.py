"""Several controllers share the fleet: each holds some agents, for a while.

A controller renews what it holds in every round. What nobody holds any more is
taken by whoever has less than an equal share, and whoever has more lets go of the
rest. Moments are the database's own, so that the clocks of hosts need not agree.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from controlplane.fleet.models import Agent
from controlplane.reconcile.models import Controller, Watch


def database_now() -> datetime:
    """The moment by the database's clock; SQLite's is this machine's."""
    if connection.vendor == "sqlite":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


def take_part(name: str, started_at: datetime, lease: timedelta) -> int:
    """Say that this controller runs; how many run, this one included."""
    now = database_now()
    with transaction.atomic():
        Controller.objects.update_or_create(
            name=name,
            defaults={"started_at": started_at, "seen_at": now, "alive_until": now + lease},
        )
        # Long gone: their agents were taken over.
        Controller.objects.filter(alive_until__lt=now - 10 * lease).delete()
        return Controller.objects.filter(alive_until__gte=now).count()


def hold_share(name: str, controllers: int, lease: timedelta) -> list[Watch]:
    """Renew, let go and take until this controller holds its share; what it holds,
    with the agents."""
    now = database_now()
    with transaction.atomic():
        _watch_everybody()
        wanted = Watch.objects.filter(agent__left_at=None)
        share = -(-wanted.count() // max(1, controllers))
        mine = list(_locked(wanted.filter(holder=name)).values_list("pk", flat=True)[: share + 1])
        if len(mine) > share:
            _let_go(name, keep=share)
        elif len(mine) < share:
            free = _locked(wanted.filter(Q(holder="") | Q(held_until__lt=now)).exclude(holder=name))
            taken = list(free.order_by("pk").values_list("pk", flat=True)[: share - len(mine)])
            Watch.objects.filter(pk__in=taken).update(holder=name)
        Watch.objects.filter(holder=name).update(held_until=now + lease)
    return list(
        Watch.objects.filter(holder=name, agent__left_at=None).select_related("agent__engine")
    )


def still_held(name: str, watches: Sequence[Watch]) -> set[int]:
    """The keys of those that this controller may still act for."""
    held = Watch.objects.filter(
        pk__in=[watch.pk for watch in watches], holder=name, held_until__gt=database_now()
    )
    return set(held.values_list("pk", flat=True))


def leave(name: str) -> None:
    """Let go of everything; the others take it in their next round."""
    with transaction.atomic():
        Watch.objects.filter(holder=name).update(holder="", held_until=None)
        Controller.objects.filter(name=name).delete()


def _watch_everybody() -> None:
    unwatched = Agent.objects.filter(watch=None).values_list("pk", flat=True)
    Watch.objects.bulk_create([Watch(agent_id=key) for key in unwatched], ignore_conflicts=True)


def _let_go(name: str, keep: int) -> None:
    mine = Watch.objects.filter(holder=name).order_by("pk").values_list("pk", flat=True)
    Watch.objects.filter(pk__in=list(mine[keep:])).update(holder="", held_until=None)


def _locked(rows: QuerySet[Watch]) -> QuerySet[Watch]:
    if connection.vendor == "sqlite":
        return rows
    return rows.select_for_update(of=("self",), skip_locked=True)
