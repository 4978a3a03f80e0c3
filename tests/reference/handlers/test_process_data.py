"""`process_data` answers what was asked of a table, as rows or as a file."""

from __future__ import annotations

import csv
import datetime
import io
import threading
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from streamer_reference.handlers import default_registry, files, process_data, sample_data
from streamer_reference.handlers.process_data import DAYS, FIRST_DAY
from streamer_reference.protocol.codec import encode
from streamer_reference.protocol.errors import HandlerError
from support.fake_job import Bench

REVENUE = {
    "source": "sales",
    "filter": [{"field": "region", "op": "eq", "value": "North"}],
    "aggregate": {
        "group_by": ["category"],
        "metrics": [{"op": "sum", "field": "revenue_cents"}, {"op": "count"}],
    },
}


@pytest.fixture(autouse=True)
def short_table(monkeypatch):
    """Sixty days are enough for a test, and read in milliseconds."""
    read = lambda advance: sample_data.sales(FIRST_DAY, 60, advance)  # noqa: E731
    _, columns = process_data.SOURCES["sales"]
    sources = {**process_data.SOURCES, "sales": (read, columns)}
    monkeypatch.setattr(process_data, "SOURCES", sources)


def _handler():
    handler = default_registry().get("process_data")
    assert handler is not None
    return handler


async def _process(bench: Bench, payload: dict[str, Any]) -> dict[str, Any]:
    assert _handler().validate(payload) == []
    result: dict[str, Any] = await _handler().run(bench.job(payload))
    return result


def _table() -> list[dict[str, Any]]:
    return [dict(row) for row in sample_data.sales(FIRST_DAY, 60, abs)]


async def test_rows_are_filtered_and_aggregated():
    """One row per group, sorted, with the sums of the rows that match."""
    result = await _process(Bench(), REVENUE)
    north = [row for row in _table() if row["region"] == "North"]
    cents: Counter[str] = Counter()
    for row in north:
        cents[row["category"]] += row["revenue_cents"]
    assert result["rows"] == [
        {
            "category": category,
            "sum_revenue_cents": cents[category],
            "count": sum(row["category"] == category for row in north),
        }
        for category in sorted(cents)
    ]
    assert result["records"] == len(cents)
    assert result["stats"] == {"rows_read": len(_table()), "rows_matched": len(north)}


async def test_without_an_aggregate_the_rows_come_as_they_are():
    """In the order of the table, all columns, and exact in JSON."""
    result = await _process(Bench(), {"source": "products"})
    assert [row["product"] for row in result["rows"]] == [row[0] for row in sample_data.PRODUCTS]
    assert result["records"] == len(sample_data.PRODUCTS)
    assert '"price_cents":34900' in encode(result)


async def test_an_aggregate_of_nothing_is_one_row_or_none():
    """Sums and counts are 0, what needs a row is null; without groups to name there is no row."""
    nobody = [{"field": "region", "op": "eq", "value": "Moon"}]
    metrics = [
        {"op": "count"},
        *({"op": op, "field": "units"} for op in ("sum", "mean", "min", "max")),
    ]
    payload = {"source": "sales", "filter": nobody, "aggregate": {"metrics": metrics}}
    result = await _process(Bench(), payload)
    assert result["rows"] == [
        {"count": 0, "sum_units": 0, "mean_units": None, "min_units": None, "max_units": None}
    ]
    payload["aggregate"] = {"metrics": metrics, "group_by": ["region"]}
    assert (await _process(Bench(), payload))["rows"] == []


async def test_a_csv_is_a_file_like_that_of_a_report():
    """The same rows, in a file that is fetched by a URL."""
    bench = Bench()
    result = await _process(bench, REVENUE | {"output": "csv"})
    rows = (await _process(Bench(), REVENUE))["rows"]
    ((key, (content, content_type)),) = bench.objects.files.items()
    assert content_type == "text/csv; charset=utf-8"
    assert key in result["url"]
    assert len(content) == result["size_bytes"]
    assert (result["format"], result["records"]) == ("csv", len(rows))
    assert result["expires_at"] == "2025-03-16T01:15:00.000Z"
    lines = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    assert lines == [{name: str(value) for name, value in row.items()} for row in rows]


async def test_a_result_of_rows_is_bounded_a_file_is_not(monkeypatch):
    """Rows in JSON are in memory together; a file is written as they come."""
    monkeypatch.setattr(process_data, "JSON_ROWS_MAX", 9)
    assert (await _process(Bench(), {"source": "products"}))["records"] == 9
    with pytest.raises(HandlerError) as caught:
        await _process(Bench(), {"source": "sales"})
    assert caught.value.code == "TOO_MANY_ROWS"
    result = await _process(Bench(), {"source": "sales", "output": "csv"})
    assert result["records"] == len(_table())


async def test_it_waits_neither_for_a_pdf_nor_for_another_one():
    """ASYNC-6: while somebody's pdf is written, and some other tables are read."""
    go_on = threading.Event()
    busy = [files.PDF.submit(go_on.wait, 10), *(files.TABLES.submit(go_on.wait, 10) for _ in "12")]
    try:
        for output in ("json", "csv"):
            result = await _process(Bench(), {"source": "products", "output": output})
            assert result["records"] == len(sample_data.PRODUCTS)
        assert not any(future.done() for future in busy)
    finally:
        go_on.set()


async def test_progress_rises_while_it_reads():
    """PROG-1: a hundred at most, once, after the file was stored."""
    bench = Bench()
    await _process(bench, REVENUE | {"output": "csv"})
    percentages = bench.percentages()
    assert percentages == sorted(percentages)
    assert percentages[-2:] == [90, 100]
    assert len(percentages) == 61


def test_the_table_covers_two_whole_years():
    """docs/protocol.md says so."""
    assert FIRST_DAY + datetime.timedelta(DAYS - 1) == datetime.date(2025, 12, 31)


def test_memory_does_not_grow_with_the_table():
    """One row is in memory at a time, and one line per group."""
    job = Bench().job(REVENUE)
    tracemalloc.start()
    process_data._collect(job)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 200_000 < sum(len(encode(row)) for row in _table())


CONDITION = {"field": "units", "op": "eq", "value": 1}


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, []),
        ({"filter": [], "output": "json", "unknown": None}, []),
        ({"source": "secrets"}, ["source"]),
        ({"source": ["sales"]}, ["source"]),
        ({"output": "xml"}, ["output"]),
        ({"filter": None}, ["filter"]),
        ({"filter": [CONDITION] * 17}, ["filter"]),
        ({"filter": [CONDITION, 1]}, ["filter[1]"]),
        ({"filter": [{}]}, ["filter[0].field"]),
        ({"filter": [{"field": "units"}]}, ["filter[0].op", "filter[0].value"]),
        ({"filter": [CONDITION | {"op": "like"}]}, ["filter[0].op"]),
        ({"filter": [CONDITION | {"field": "price_cents"}]}, ["filter[0].field"]),
        ({"filter": [CONDITION | {"op": "contains"}]}, ["filter[0].op"]),
        ({"filter": [CONDITION | {"value": True}]}, ["filter[0].value"]),
        ({"filter": [CONDITION | {"value": "1"}]}, ["filter[0].value"]),
        ({"filter": [CONDITION | {"value": 1.5}]}, []),
        ({"filter": [CONDITION | {"op": "in"}]}, ["filter[0].value"]),
        ({"filter": [CONDITION | {"op": "in", "value": []}]}, ["filter[0].value"]),
        ({"filter": [CONDITION | {"op": "in", "value": [1, "2"]}]}, ["filter[0].value[1]"]),
        ({"filter": [{"field": "day", "op": "ge", "value": 2024}]}, ["filter[0].value"]),
        ({"filter": [{"field": "day", "op": "ge", "value": "2024-06"}]}, []),
        ({"aggregate": {}}, ["aggregate.metrics"]),
        ({"aggregate": {"metrics": []}}, ["aggregate.metrics"]),
        ({"aggregate": {"metrics": [{"op": "median"}]}}, ["aggregate.metrics[0].op"]),
        ({"aggregate": {"metrics": [{"op": "sum"}]}}, ["aggregate.metrics[0].field"]),
        (
            {"aggregate": {"metrics": [{"op": "sum", "field": "region"}]}},
            ["aggregate.metrics[0].field"],
        ),
        ({"aggregate": {"metrics": [{"op": "max", "field": "region"}]}}, []),
        (
            {"aggregate": {"metrics": [{"op": "count"}], "group_by": ["region", "moon"]}},
            ["aggregate.group_by[1]"],
        ),
        (
            {"aggregate": {"metrics": [{"op": "count"}], "group_by": ["region"] * 5}},
            ["aggregate.group_by"],
        ),
        (
            {"aggregate": {"metrics": [{"op": "count"}], "group_by": ["region", "day", "region"]}},
            ["aggregate.group_by[2]"],
        ),
        (
            {"aggregate": {"metrics": [{"op": "count"}, {"op": "count", "field": "day"}]}},
            ["aggregate.metrics[1]"],
        ),
        (
            {"aggregate": {"metrics": [{"op": op, "field": "units"} for op in ("sum", "sum")]}},
            ["aggregate.metrics[1]"],
        ),
        (
            {"aggregate": {"metrics": [{"op": op, "field": "units"} for op in ("sum", "max")]}},
            [],
        ),
    ],
)
def test_each_bad_field_is_named(changes, fields):
    """MSG-2: by its path, and null is not absent."""
    errors = _handler().validate({"source": "sales", **changes})
    assert [error.field for error in errors] == [f"payload.{field}" for field in fields]


def test_a_source_is_needed():
    """What else could be asked depends on it."""
    assert [error.field for error in _handler().validate({"output": 1})] == ["payload.source"]
