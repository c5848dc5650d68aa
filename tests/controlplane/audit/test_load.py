"""Many writers at once."""

import threading

import pytest
from django.db import connection, transaction

from controlplane.audit.models import AuditEntry

WRITERS = 16
EACH = 30


class _Undone(Exception):
    pass


@pytest.mark.django_db(transaction=True)
def test_record__sixteen_writers__make_one_chain_without_a_gap(write, check, sign):
    failed: list[BaseException] = []
    together = threading.Barrier(WRITERS)

    def work(number: int) -> None:
        try:
            together.wait(30)
            for turn in range(EACH):
                _write_somehow(write, number, turn)
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    sign()

    assert failed == []
    report = check()
    assert report.problem is None
    kept = WRITERS * EACH * 2 // 3
    assert report.entries == AuditEntry.objects.count() == kept
    assert (report.first, report.last) == (1, kept)
    moments = list(AuditEntry.objects.order_by("id").values_list("created_at", flat=True))
    assert moments == sorted(moments)


def _write_somehow(write, number: int, turn: int) -> None:
    """Alone, in a transaction, and in one that comes to nothing."""
    if turn % 3 == 0:
        write(number)
        return
    try:
        with transaction.atomic():
            write(number, agent=f"writer-{number}")
            if turn % 3 == 2:
                raise _Undone
    except _Undone:
        pass
