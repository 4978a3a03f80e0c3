"""The sample data is the same wherever and however it is read."""

from __future__ import annotations

import datetime

from streamer_reference.handlers import sample_data
from streamer_reference.handlers.sample_data import sales

DAY = datetime.date(2025, 3, 16)


def test_the_same_seed_gives_the_same_rows_and_another_one_does_not():
    """Determinism by seed, within and across runs of Python."""
    rows = list(sales(DAY, 3))
    assert rows == list(sales(DAY, 3))
    assert rows != list(sales(DAY, 3, seed=1))
    first = rows[0]
    assert sum(row.revenue_cents for row in rows) == 2_502_340
    assert (first.order_id, first.product, first.units) == ("2025-03-16-001", "Headphones", 3)


def test_a_range_is_the_days_it_is_made_of():
    """A day's rows do not depend on where the reading began."""
    whole = list(sales(DAY, 4))
    parts = [row for offset in range(4) for row in sales(DAY + datetime.timedelta(offset), 1)]
    assert whole == parts
    assert [row.day for row in whole] == sorted(row.day for row in whole)


def test_rows_are_streamed():
    """The first row of eight thousand years costs no more than the first row of a day."""
    assert next(sales(datetime.date.min, 3_000_000)).day == datetime.date.min


def test_every_row_is_within_its_bounds():
    """Whole cents, known regions and categories, at least one and at most so many rows a day."""
    for year in (1, 2024, 9999):
        rows = list(sales(datetime.date(year, 12, 15), 14))
        days = {row.day for row in rows}
        assert len(days) == 14
        assert len(rows) <= 14 * sample_data.SALES_PER_DAY_MAX
        assert len({row.order_id for row in rows}) == len(rows)
        assert {row.region for row in rows} <= set(sample_data.REGIONS)
        assert {row.category for row in rows} <= set(sample_data.CATEGORIES)
        assert all(1 <= row.units <= sample_data.UNITS_MAX for row in rows)
        assert all(row.revenue_cents == row.units * row.unit_price_cents > 0 for row in rows)
