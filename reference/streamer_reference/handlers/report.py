"""`generate_report`: a real file, written from sample data, to be fetched until its URL expires."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

from streamer_reference.handlers import fields, files
from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.pipeline import aggregate
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, Registry
from streamer_reference.handlers.sample_data import sales
from streamer_reference.protocol.errors import FieldError

DAYS_MAX = 366
PERIODS: Mapping[str, Callable[[str], str]] = {  # of a day as YYYY-MM-DD
    "monthly": lambda day: day[:7],
    "quarterly": lambda day: f"{day[:4]}-Q{(int(day[5:7]) + 2) // 3}",
    "annual": lambda day: day[:4],
    "custom": lambda day: day,
}
COLUMNS = ("period", "sales", "units", "revenue")
_METRICS = (("count", ""), ("sum", "units"), ("sum", "revenue_cents"))

registry = Registry()


def _is_date(value: JSON) -> bool:
    try:  # date.fromisoformat takes more forms than the one that it gives
        return bool(_date(value).isoformat() == value)
    except (TypeError, ValueError):
        return False


_date = datetime.date.fromisoformat
_DAY = fields.must_be("a date as YYYY-MM-DD", _is_date)
_bad_members = fields.payload(
    {"start_date": _DAY, "end_date": _DAY, "format": fields.choice(*files.CONTENT_TYPES)},
    {"report_type": fields.choice(*PERIODS), "include_charts": fields.BOOLEAN},
)


def _bad_order(payload: Mapping[str, JSON]) -> list[FieldError]:
    errors = _bad_members(payload)
    if all(_is_date(payload.get(name)) for name in ("start_date", "end_date")):
        if (days := _days(payload)) < 1:
            errors.append(FieldError("payload.start_date", "must not be after end_date"))
        elif days > DAYS_MAX:
            errors.append(FieldError("payload.end_date", f"must make at most {DAYS_MAX} days"))
    return errors


def _days(payload: Mapping[str, JSON]) -> int:
    """How many days are asked for, both dates included."""
    return (_date(payload["end_date"]) - _date(payload["start_date"])).days + 1


@registry.handler("generate_report", estimated_duration_s=ALWAYS_QUEUED_S, validate=_bad_order)
async def generate_report(job: Job) -> JSON:
    """Write the report, store it, and end with where it is and what is in it."""
    name = f"sales-{job.payload['start_date']}-{job.payload['end_date']}"
    return await files.publish(job, f"{name}.{job.payload['format']}", _write)


def _write(job: Job, path: Path) -> dict[str, JSON]:
    """The part that burns the processor: runs in a thread, never on the event loop."""
    order, form = job.payload, job.payload["format"]
    days, period_of = _days(order), PERIODS[order.get("report_type", "custom")]
    rows = sales(
        _date(order["start_date"]), days, lambda f: job.progress(round(40 * f, 1), "Reading sales")
    )
    dated = ({**row, "period": period_of(str(row["day"]))} for row in rows)
    totals = aggregate(dated, ("period",), _METRICS)
    lines = [(*counts, Decimal(cents).scaleb(-2)) for *counts, cents in totals]
    sold, units, cents = (sum(total[place] for total in totals) for place in (1, 2, 3))
    if form == "csv":
        files.write_csv(path, COLUMNS, lines)
    else:
        title = f"Sales {order['start_date']} to {order['end_date']}"
        table = files.Table(title, COLUMNS, lines, order.get("include_charts", False))
        write = files.write_pdf if form == "pdf" else files.write_xlsx
        write(path, table, lambda f: job.progress(round(40 + 50 * f, 1), f"Writing {form}"))
    stats = {"days": days, "sales": sold, "units": units, "revenue_cents": cents}
    return {"records": len(lines), "stats": {**stats, "average_sale_cents": round(cents / sold)}}
