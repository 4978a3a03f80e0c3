"""A made-up shop: its products, and its sales by seed, so that a day always has the same rows.

Each day is made on its own, so any range is read row by row, without making what lies before it and
without holding it in memory. Amounts are whole cents, so that sums are exact.
Only `Random.random` is used: its numbers are the same in every Python version, those of the other
methods are not.
"""

from __future__ import annotations

import bisect
import datetime
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping

SEED = 20250316
SALES_PER_DAY = 60  # on an average day
SALES_PER_DAY_MAX = 250  # however the seasons add up
UNITS_MAX = 8

Row = Mapping[str, str | int]
Advance = Callable[[float], None]  # told a fraction, 0 to 1; may raise to stop the work

# Product, category, list price in cents, and how often it sells next to the others.
PRODUCTS = (
    ("Espresso machine", "Kitchen", 34_900, 3),
    ("Cast-iron pan", "Kitchen", 5_900, 8),
    ("Desk lamp", "Office", 6_900, 7),
    ("Standing desk", "Office", 52_900, 2),
    ("Notebook, dotted", "Office", 1_490, 12),
    ("Trail backpack", "Outdoor", 12_900, 5),
    ("Steel bottle", "Outdoor", 2_450, 11),
    ("Headphones", "Audio", 19_900, 5),
    ("Scented candle", "Home", 1_950, 10),
)
REGIONS = ("North", "South", "East", "West")
_STEPS = tuple(itertools.accumulate(weight for *_, weight in PRODUCTS))

PRODUCT_COLUMNS = {"product": str, "category": str, "price_cents": int}
SALES_COLUMNS = {
    **dict.fromkeys(("order_id", "day", "region", "product", "category"), str),
    **dict.fromkeys(("units", "unit_price_cents", "revenue_cents"), int),
}


def products(advance: Advance) -> Iterator[Row]:
    """What the shop sells."""
    for product, category, price_cents, _ in PRODUCTS:
        yield {"product": product, "category": category, "price_cents": price_cents}
    advance(1.0)


def sales(start: datetime.date, days: int, advance: Advance, seed: int = SEED) -> Iterator[Row]:
    """Every sale of so many days, in the order of time; at most `SALES_PER_DAY_MAX` a day."""
    for number in range(days):
        yield from _sales_of_day(start + datetime.timedelta(number), seed)
        advance((number + 1) / days)


def _sales_of_day(day: datetime.date, seed: int) -> Iterator[Row]:
    chance = random.Random(f"{seed}/{day.isoformat()}").random  # noqa: S311 - sample data
    rows = round(_demand(day) * (0.85 + 0.3 * chance()))
    for row in range(1, min(SALES_PER_DAY_MAX, rows) + 1):
        product, category, price_cents, _ = PRODUCTS[bisect.bisect(_STEPS, chance() * _STEPS[-1])]
        units = 1 + min(UNITS_MAX - 1, int(-1.1 * math.log(1.0 - chance())))
        unit_price_cents = price_cents * 85 // 100 if chance() < 0.12 else price_cents
        yield {
            "order_id": f"{day.isoformat()}-{row:03d}",
            "day": day.isoformat(),
            "region": REGIONS[int(4 * chance() ** 1.6)],
            "product": product,
            "category": category,
            "units": units,
            "unit_price_cents": unit_price_cents,
            "revenue_cents": units * unit_price_cents,
        }


def _demand(day: datetime.date) -> float:
    """How many sales to expect: fewer on Sundays, more before the holidays, slowly growing."""
    weekday = (1.0, 1.0, 1.0, 1.0, 1.2, 1.3, 0.5)[day.weekday()]
    holidays = 1.6 if day.month == 12 and day.day <= 24 else 1.0
    growth = 1 + 0.07 * max(-5, min(10, day.year - 2024))
    return SALES_PER_DAY * weekday * holidays * growth
