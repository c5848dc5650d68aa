"""Entries as files."""

import csv
import io
import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controlplane.audit import export
from controlplane.audit.models import AuditEntry

URL = "/api/v1/audit/export"


def read(response) -> str:
    assert response.status_code == 200
    assert response.streaming
    return b"".join(response.streaming_content).decode()


def test_json_lines__all__are_the_entries_oldest_first_with_their_macs(log, viewer_api):
    lines = [json.loads(line) for line in read(viewer_api.get(URL)).split("\n") if line]

    ours = [line for line in lines if line["id"] in {entry.pk for entry in log}]
    assert [line["entry"] for line in ours] == [entry.content for entry in log]
    assert [line["mac"] for line in ours] == [entry.mac for entry in log]
    assert [line["id"] for line in lines] == sorted(line["id"] for line in lines)


def test_csv__all__has_a_line_of_names_and_one_for_each_entry(log, viewer_api):
    response = viewer_api.get(f"{URL}?format=csv&agent=worker-1")
    rows = list(csv.DictReader(io.StringIO(read(response), newline="")))

    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert [row["id"] for row in rows] == [str(entry.pk) for entry in log[1::3]]
    assert json.loads(rows[0]["diff"]) == log[1].diff
    assert rows[0]["reason"] == log[1].reason


def test_csv__text_that_a_spreadsheet_would_run__is_defused(db, viewer_api, write):
    write(reason="=HYPERLINK(1)", agent="a")
    (row,) = csv.DictReader(io.StringIO(read(viewer_api.get(f"{URL}?format=csv&agent=a"))))

    assert row["reason"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize("count", [0, 3, 4, 5, 8])
def test_export__pages__hold_every_entry_once(db, viewer_api, write, monkeypatch, count):
    monkeypatch.setattr(export, "_PAGE", 4)
    written = [write(agent="paged").pk for _ in range(count)]
    lines = read(viewer_api.get(f"{URL}?agent=paged")).split("\n")[:-1]

    assert [json.loads(line)["id"] for line in lines] == written


def test_export__entries_added_meanwhile__are_left_out(log, viewer_api, write, monkeypatch):
    monkeypatch.setattr(export, "_PAGE", 4)
    stream = viewer_api.get(f"{URL}?action=conf.update").streaming_content
    count = 0
    for _ in stream:
        write()
        count += 1

    assert count == 12


def test_export__first_line__is_there_after_one_page(log, write, monkeypatch):
    monkeypatch.setattr(export, "_PAGE", 2)
    lines = export.json_lines(AuditEntry.objects.all())
    with CaptureQueriesContext(connection) as captured:
        next(lines)

    assert len(captured) == 2


def test_export__unknown_format__is_400_naming_it(viewer_api):
    response = viewer_api.get(f"{URL}?format=xml")

    assert response.status_code == 400
    assert "csv, jsonl" in response.json()["message"]


def test_export__bad_filter__is_400(viewer_api):
    assert viewer_api.get(f"{URL}?operation=nonsense").status_code == 400
