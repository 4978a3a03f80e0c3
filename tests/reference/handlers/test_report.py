"""A report is a real file: it opens, and what it says is what the sample data says."""

from __future__ import annotations

import asyncio
import csv
import datetime
import io
import re
import subprocess
import sys
import threading
import zlib
from typing import Any

import openpyxl
import pytest

from streamer_reference.handlers import default_registry, report
from streamer_reference.handlers.job import JobEndedError
from streamer_reference.handlers.sample_data import sales
from streamer_reference.protocol.errors import HandlerError
from support.fake_job import Bench

QUARTER = {"start_date": "2025-01-01", "end_date": "2025-03-31"}
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


def _handler():
    handler = default_registry().get("generate_report")
    assert handler is not None
    return handler


async def _generate(bench: Bench, **payload: Any) -> tuple[dict[str, Any], bytes, str]:
    payload = QUARTER | payload
    assert _handler().validate(payload) == []
    result = await _handler().run(bench.job(payload))
    ((key, (content, content_type)),) = bench.objects.files.items()
    assert key in result["url"]
    assert len(content) == result["size_bytes"]
    return result, content, content_type


def _rows(payload: dict[str, str]) -> list[dict[str, Any]]:
    """The sales of the order, read anew."""
    start = datetime.date.fromisoformat(payload["start_date"])
    days = (datetime.date.fromisoformat(payload["end_date"]) - start).days + 1
    return [dict(row) for row in sales(start, days, abs)]


def _sums(rows: list[dict[str, Any]]) -> tuple[int, int, int]:
    """Sales, units and revenue in cents."""
    return len(rows), sum(row["units"] for row in rows), sum(row["revenue_cents"] for row in rows)


async def test_a_csv_has_a_line_per_record_that_adds_up():
    """What is in the file, what is in the result, and what is in the data agree to the cent."""
    result, content, content_type = await _generate(Bench(), format="csv", report_type="monthly")
    lines = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert content_type == "text/csv; charset=utf-8"
    assert [line["period"] for line in lines] == ["2025-01", "2025-02", "2025-03"]
    assert len(lines) == result["records"]
    rows, stats = _rows(QUARTER), result["stats"]
    for line in lines:
        counted = _sums([row for row in rows if row["day"].startswith(line["period"])])
        cents = int(line["revenue"].replace(".", ""))
        assert (int(line["sales"]), int(line["units"]), cents) == counted

    assert (stats["sales"], stats["units"], stats["revenue_cents"]) == _sums(rows)
    assert stats["average_sale_cents"] == round(stats["revenue_cents"] / stats["sales"])
    assert stats["days"] == 90


@pytest.mark.parametrize(
    ("report_type", "periods"),
    [
        ("monthly", ["2024-11", "2024-12", "2025-01"]),
        ("quarterly", ["2024-Q4", "2025-Q1"]),
        ("annual", ["2024", "2025"]),
        ("custom", None),
    ],
)
async def test_records_are_the_periods_of_the_report_type(report_type, periods):
    """Only days between the dates count, both included, whatever the period."""
    order = {"start_date": "2024-11-29", "end_date": "2025-01-02"}
    result, content, _ = await _generate(Bench(), format="csv", report_type=report_type, **order)
    lines = content.decode().splitlines()[1:]
    days = [datetime.date(2024, 11, 29) + datetime.timedelta(number) for number in range(35)]
    assert [line.split(",")[0] for line in lines] == (periods or [day.isoformat() for day in days])
    assert result["stats"]["sales"] == len(_rows(order))
    assert sum(int(line.split(",")[1]) for line in lines) == result["stats"]["sales"]


@pytest.mark.parametrize("include_charts", [False, True])
async def test_an_xlsx_opens_with_its_records_and_the_chart_asked_for(include_charts):
    """The first sheet has the records alone, so that a program can read it as well as a person."""
    result, content, content_type = await _generate(
        Bench(), format="xlsx", report_type="monthly", include_charts=include_charts
    )
    book = openpyxl.load_workbook(io.BytesIO(content))
    rows = list(book.worksheets[0].iter_rows(values_only=True))
    assert content_type == XLSX
    assert rows[0] == ("period", "sales", "units", "revenue")
    assert [row[0] for row in rows[1:]] == ["2025-01", "2025-02", "2025-03"]
    assert len(rows) - 1 == result["records"]
    assert round(sum(row[-1] * 100 for row in rows[1:])) == result["stats"]["revenue_cents"]
    assert book.sheetnames == (["Data", "Chart"] if include_charts else ["Data"])
    charts = [chart for sheet in book.worksheets for chart in sheet._charts]
    assert len(charts) == include_charts


@pytest.mark.parametrize(
    ("report_type", "include_charts", "pages"),
    [("annual", True, 2), ("monthly", False, 1), ("custom", False, 2), ("custom", True, 3)],
)
async def test_a_pdf_has_its_pages_and_the_chart_asked_for(report_type, include_charts, pages):
    """The cross-reference table points at objects, and the page tree counts its pages."""
    _, content, content_type = await _generate(
        Bench(), format="pdf", report_type=report_type, include_charts=include_charts
    )
    assert content_type == "application/pdf"
    assert content.startswith(b"%PDF-1.")
    assert content.rstrip().endswith(b"%%EOF")
    table = int(re.findall(rb"startxref\s+(\d+)", content)[-1])
    entries = re.findall(rb"(\d{10}) \d{5} n", content[table:])
    assert content[table : table + 4] == b"xref"
    assert all(re.match(rb"\d+ 0 obj", content[int(entry) : int(entry) + 20]) for entry in entries)
    assert len(re.findall(rb"/Type /Page\b", content)) == pages
    assert re.search(rb"/Count (\d+)", content).group(1) == str(pages).encode()
    assert "Sales 2025-01-01 to 2025-03-31" in _texts(content)
    assert "2025" in _texts(content)


def _texts(content: bytes) -> str:
    """What is written: the strings of all compressed streams, one after the other."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    drawn = b"".join(zlib.decompress(stream) for stream in streams if stream[:1] == b"x")
    return b"".join(re.findall(rb"\(((?:[^()\\]|\\.)*)\)", drawn)).decode("latin-1")


async def test_the_result_says_when_and_how_long():
    """All moments are of the job's clock: the URL lives 15 minutes."""
    result, _, _ = await _generate(Bench(), format="csv")
    assert result["generated_at"] == "2025-03-16T01:00:00.000Z"
    assert result["expires_at"] == "2025-03-16T01:15:00.000Z"
    assert result["url"].endswith("X-Amz-Expires=900")
    assert result["format"] == "csv"


@pytest.mark.parametrize("form", ["csv", "xlsx", "pdf"])
async def test_progress_rises_to_one_hundred(form):
    """PROG-1: never decreasing, and one 100 at the end."""
    bench = Bench()
    await _generate(bench, format=form, report_type="monthly", include_charts=True)
    percentages = bench.percentages()
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100
    assert percentages.count(100) == 1
    assert len(percentages) > 90


async def test_each_attempt_and_each_owner_has_a_file_of_its_own():
    """No two owners meet, and no earlier attempt replaces the file of a later one."""
    bench = Bench()
    payload = QUARTER | {"format": "csv", "report_type": "annual"}
    for changes in ({}, {"attempt": 2}, {"request_id": "r-2"}, {"tenant_id": "other"}):
        await _handler().run(bench.job(payload, **changes))
    assert len(bench.objects.files) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]{1,200}", key) for key in bench.objects.files)


async def test_without_an_object_store_it_fails_with_a_typed_error():
    """A service without a place for files says so."""
    with pytest.raises(HandlerError) as caught:
        await _handler().run(Bench().job(QUARTER | {"format": "csv"}, objects=None))
    assert caught.value.code == "SERVICE_UNAVAILABLE"


async def test_a_request_that_ends_early_stops_the_work(monkeypatch):
    """A cancelled report must not keep the processor busy until it is finished."""
    began, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def read_slowly(start, days, advance):
        began.set()
        go_on.wait(10)
        try:
            advance(0.5)
        except JobEndedError:
            ended.set()
            raise
        yield

    monkeypatch.setattr(report, "sales", read_slowly)
    bench = Bench()
    task = asyncio.create_task(_handler().run(bench.job(QUARTER | {"format": "csv"})))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    assert bench.events == []
    assert bench.objects.files == {}


GOOD = QUARTER | {"format": "csv"}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, []),
        ({"report_type": "annual", "include_charts": True, "unknown": None}, []),
        ({"start_date": None}, ["payload.start_date"]),
        ({"start_date": "2025-1-1"}, ["payload.start_date"]),
        ({"start_date": "20250101"}, ["payload.start_date"]),
        ({"start_date": "2025-W01-1"}, ["payload.start_date"]),
        ({"start_date": "2025-01-01\n"}, ["payload.start_date"]),
        ({"start_date": "\u0662\u0660\u0662\u0665-01-01"}, ["payload.start_date"]),
        ({"start_date": "2025-02-29"}, ["payload.start_date"]),
        ({"start_date": "0000-01-01"}, ["payload.start_date"]),
        ({"start_date": 20250101}, ["payload.start_date"]),
        ({"start_date": "2025-04-01"}, ["payload.start_date"]),
        ({"start_date": "2025-03-31"}, []),
        ({"start_date": "2024-03-31"}, []),
        ({"start_date": "2024-03-30"}, ["payload.end_date"]),
        ({"start_date": "x", "end_date": "y"}, ["payload.start_date", "payload.end_date"]),
        ({"format": "docx"}, ["payload.format"]),
        ({"format": ["csv"]}, ["payload.format"]),
        ({"report_type": "weekly"}, ["payload.report_type"]),
        ({"report_type": None}, ["payload.report_type"]),
        ({"include_charts": 1}, ["payload.include_charts"]),
    ],
)
def test_each_bad_field_is_named(changes, fields):
    """MSG-2: dates are YYYY-MM-DD, start not after end, at most 366 days."""
    assert [error.field for error in _handler().validate(GOOD | changes)] == fields


def test_what_is_missing_is_named_field_by_field():
    """MSG-2: one error for each bad field."""
    errors = _handler().validate({})
    assert [error.field for error in errors] == [
        "payload.start_date",
        "payload.end_date",
        "payload.format",
    ]
    assert all("missing" in error.message for error in errors)


@pytest.mark.parametrize("start_date", ["0001-01-01", "9999-12-01"])
async def test_the_ends_of_the_calendar_work(start_date):
    """Every date that passes the checks has a report."""
    dates = {"start_date": start_date, "end_date": start_date[:8] + "31"}
    result, content, _ = await _generate(Bench(), format="pdf", include_charts=True, **dates)
    assert result["records"] == 31
    assert content.startswith(b"%PDF")


def test_nobody_pays_for_libraries_that_only_a_report_needs():
    """A worker is ready when its first request comes, not when matplotlib is."""
    code = (
        "import sys, streamer_reference.handlers\n"
        "print(*sorted({'matplotlib', 'numpy', 'openpyxl'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30)
    assert ended.stdout.strip() == ""
