"""What a report says, before any file is written: the checked order, and the sums over the sales.

A record is one line of the report, a period. There are at most 366, so a report and its file fit in
memory while the sales behind them only stream by.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping

from streamer_reference.handlers import sample_data
from streamer_reference.handlers.fields import Fields
from streamer_reference.handlers.job import JSON
from streamer_reference.protocol.errors import FieldError

FORMATS = ("csv", "xlsx", "pdf")
PERIODS: Mapping[str, Callable[[datetime.date], str]] = {
    "monthly": lambda day: f"{day.year:04d}-{day.month:02d}",
    "quarterly": lambda day: f"{day.year:04d}-Q{(day.month + 2) // 3}",
    "annual": lambda day: f"{day.year:04d}",
    "custom": datetime.date.isoformat,
}
DAYS_MAX = 366
# date.fromisoformat takes more forms than YYYY-MM-DD, and \d more digits than ASCII's.
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Advance = Callable[[float], None]  # told a fraction, 0 to 1; may raise to stop the work


def bad_order(payload: Mapping[str, JSON]) -> list[FieldError]:
    """What is wrong with a payload of `generate_report`, one error for each bad field."""
    fields = Fields(payload)
    must = "must be a date as YYYY-MM-DD"
    dates = [fields.check(name, _is_date, must, True) for name in ("start_date", "end_date")]
    fields.choice("format", FORMATS, required=True)
    fields.choice("report_type", tuple(PERIODS))
    fields.check("include_charts", lambda value: isinstance(value, bool), "must be true or false")
    if all(dates):
        days = Order.of({"format": "", **payload}).days
        if days < 1:
            fields.bad("start_date", "must not be after end_date")
        elif days > DAYS_MAX:
            fields.bad("end_date", f"must be at most {DAYS_MAX} days on, both days included")
    return fields.errors


def _is_date(value: JSON) -> bool:
    try:
        return _DATE.fullmatch(value) is not None and bool(datetime.date.fromisoformat(value))
    except (TypeError, ValueError):
        return False


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What was asked for; `start` and `end` are both included."""

    start: datetime.date
    end: datetime.date
    format: str
    report_type: str
    include_charts: bool

    @classmethod
    def of(cls, payload: Mapping[str, JSON]) -> Order:
        """The order in a payload that `bad_order` finds nothing wrong with."""
        return cls(
            start=datetime.date.fromisoformat(payload["start_date"]),
            end=datetime.date.fromisoformat(payload["end_date"]),
            format=payload["format"],
            report_type=payload.get("report_type", "custom"),
            include_charts=payload.get("include_charts", False),
        )

    @property
    def days(self) -> int:
        """How many days the order covers."""
        return (self.end - self.start).days + 1

    @property
    def title(self) -> str:
        """The report's name for people."""
        kind = "daily" if self.report_type == "custom" else self.report_type
        return f"{kind.capitalize()} sales"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One line: a period, or all of them; `revenue_cents` is by category, in whole cents."""

    period: str
    sales: int
    units: int
    revenue_cents: Mapping[str, int]

    @property
    def total_cents(self) -> int:
        """The revenue of all categories."""
        return sum(self.revenue_cents.values())


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The order, its records in the order of time, and their sums; every period has a sale."""

    order: Order
    records: tuple[Record, ...]
    total: Record
    cents_by_region: Mapping[str, int]
    generated_at: datetime.datetime

    def stats(self) -> dict[str, JSON]:
        """The member `stats` of the result; amounts are whole cents."""
        return {
            "days": self.order.days,
            "sales": self.total.sales,
            "units": self.total.units,
            "revenue_cents": self.total.total_cents,
            "average_sale_cents": round(self.total.total_cents / self.total.sales),
            "revenue_cents_by_category": dict(self.total.revenue_cents),
            "revenue_cents_by_region": dict(self.cents_by_region),
        }


def summarise(
    order: Order, generated_at: datetime.datetime, advance: Advance, seed: int = sample_data.SEED
) -> Report:
    """Read the sales of the order and sum them up, one period after the other."""
    regions: Counter[str] = Counter()
    records = []
    period_of = PERIODS[order.report_type]
    rows = sample_data.sales(order.start, order.days, seed)
    for period, sales in itertools.groupby(rows, lambda sale: period_of(sale.day)):
        count, units, cents = 0, 0, dict.fromkeys(sample_data.CATEGORIES, 0)
        day = None
        for sale in sales:
            if sale.day != day:
                day = sale.day
                advance(((day - order.start).days + 1) / order.days)
            count += 1
            units += sale.units
            cents[sale.category] += sale.revenue_cents
            regions[sale.region] += sale.revenue_cents
        records.append(Record(period, count, units, cents))
    return Report(order, tuple(records), _sum(records), dict(regions), generated_at)


def _sum(records: list[Record]) -> Record:
    return Record(
        "total",
        sum(record.sales for record in records),
        sum(record.units for record in records),
        {c: sum(record.revenue_cents[c] for record in records) for c in sample_data.CATEGORIES},
    )
