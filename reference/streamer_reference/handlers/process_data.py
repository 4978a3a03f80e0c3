"""`process_data`: read a table, filter, aggregate and write, as one stream of rows."""

from __future__ import annotations

import datetime
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from streamer_reference.handlers import fields, sample_data
from streamer_reference.handlers.files import TABLES, publish, write_csv
from streamer_reference.handlers.job import JSON, Job, in_thread
from streamer_reference.handlers.pipeline import COMPARE, FOLD, TOO_MANY_ROWS, aggregate, select
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, Registry
from streamer_reference.protocol.errors import FieldError, HandlerError

CONDITIONS_MAX, GROUP_BY_MAX, METRICS_MAX, IN_MAX = 16, 4, 16, 100
JSON_ROWS_MAX = 10_000  # a csv streams, so it has no such bound
FIRST_DAY, DAYS = datetime.date(2024, 1, 1), 731
# How each table is read, and its columns with their types.
Read = Callable[[sample_data.Advance], Iterator[sample_data.Row]]
SOURCES: Mapping[str, tuple[Read, Mapping[str, type]]] = {
    "sales": (functools.partial(sample_data.sales, FIRST_DAY, DAYS), sample_data.SALES_COLUMNS),
    "products": (sample_data.products, sample_data.PRODUCT_COLUMNS),
}
_bad_source = fields.payload({"source": fields.choice(*SOURCES)})

registry = Registry()


def _bad_query(query: Mapping[str, JSON]) -> list[FieldError]:
    """What can be asked of a table depends on its columns, so a bad source hides the rest."""
    if errors := _bad_source(query):
        return errors
    columns = SOURCES[query["source"]][1]
    metrics = fields.items(functools.partial(_bad_metric, columns), 1, METRICS_MAX)
    group_by = fields.items(fields.choice(*columns), 0, GROUP_BY_MAX)
    checks = {
        "filter": fields.items(functools.partial(_bad_condition, columns), 0, CONDITIONS_MAX),
        "aggregate": fields.members(
            {"metrics": fields.unlike(metrics, _column)}, {"group_by": fields.unlike(group_by)}
        ),
        "output": fields.choice("json", "csv"),
    }
    return fields.payload({}, checks)(query)


def _bad_condition(columns: Mapping[str, type], condition: JSON, path: str) -> list[FieldError]:
    if errors := fields.members({"field": fields.choice(*columns)})(condition, path):
        return errors
    is_text = columns[condition["field"]] is str
    ops = [op for op in COMPARE if is_text or op != "contains"]
    value = fields.text() if is_text else fields.NUMBER
    values = fields.items(value, 1, IN_MAX) if condition.get("op") == "in" else value
    return fields.members({"op": fields.choice(*ops), "value": values})(condition, path)


def _bad_metric(columns: Mapping[str, type], metric: JSON, path: str) -> list[FieldError]:
    if errors := fields.members({"op": fields.choice(*FOLD)})(metric, path):
        return errors
    if metric["op"] == "count":
        return []
    texts_too = metric["op"] in ("min", "max")
    names = [name for name, kind in columns.items() if kind is int or texts_too]
    return fields.members({"field": fields.choice(*names)})(metric, path)


def _column(metric: Mapping[str, JSON]) -> str:
    """What a metric's column in the result is called."""
    op: str = metric["op"]
    return op if op == "count" else f"{op}_{metric['field']}"


@registry.handler(
    "process_data",
    estimated_duration_s=ALWAYS_QUEUED_S,
    validate=_bad_query,
    error_codes=(TOO_MANY_ROWS,),
)
async def process_data(job: Job) -> JSON:
    """End with the rows, or with a csv of them and where it is."""
    if job.payload.get("output", "json") == "csv":
        return await publish(job, f"{job.payload['source']}.csv", _write)
    return await in_thread(_collect, job, TABLES)


def _query(job: Job, seen: Counter[str]) -> tuple[list[str], Iterator[Iterable[Any]]]:
    """The columns of the result, and its rows as a stream."""
    read, columns = SOURCES[job.payload["source"]]
    conditions = [(c["field"], c["op"], c["value"]) for c in job.payload.get("filter", ())]
    rows = read(lambda fraction: job.progress(round(90 * fraction, 1), "Reading"))
    rows = select(rows, conditions, seen)
    asked = job.payload.get("aggregate")
    if asked is None:
        return list(columns), (row.values() for row in rows)
    group_by = asked.get("group_by", [])
    metrics = [(m["op"], "" if m["op"] == "count" else m["field"]) for m in asked["metrics"]]
    return [*group_by, *map(_column, asked["metrics"])], iter(aggregate(rows, group_by, metrics))


def _write(job: Job, path: Path) -> dict[str, JSON]:
    seen: Counter[str] = Counter(rows_read=0, rows_matched=0)
    records = write_csv(path, *_query(job, seen))
    return {"records": records, "stats": dict(seen)}


def _collect(job: Job) -> dict[str, JSON]:
    seen: Counter[str] = Counter(rows_read=0, rows_matched=0)
    names, stream = _query(job, seen)
    rows: list[dict[str, JSON]] = []
    for row in stream:
        if len(rows) == JSON_ROWS_MAX:
            raise HandlerError("TOO_MANY_ROWS")
        rows.append(dict(zip(names, row, strict=True)))
    return {"rows": rows, "records": len(rows), "stats": dict(seen)}
