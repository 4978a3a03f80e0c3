"""The sample data is the same wherever and however it is read."""

from __future__ import annotations

import datetime

import pytest

from streamer_reference.handlers import sample_data
from streamer_reference.handlers.sample_data import products, sales

DAY = datetime.date(2025, 3, 16)


def test_the_same_seed_gives_the_same_rows_and_another_one_does_not():
    """Determinism by seed, within and across runs of Python."""
    rows = list(sales(DAY, 3, abs))
    assert rows == list(sales(DAY, 3, abs))
    assert rows != list(sales(DAY, 3, abs, seed=1))
    first = rows[0]
    assert sum(row["revenue_cents"] for row in rows) == 1_953_882
    assert (first["order_id"], first["product"], first["units"]) == (
        "2025-03-16-001",
        "Steel bottle",
        1,
    )


def test_a_range_is_the_days_it_is_made_of():
    """A day's rows do not depend on where the reading began."""
    whole = list(sales(DAY, 4, abs))
    one_by_one = [sales(DAY + datetime.timedelta(offset), 1, abs) for offset in range(4)]
    assert whole == [row for rows in one_by_one for row in rows]
    assert [row["day"] for row in whole] == sorted(row["day"] for row in whole)


def test_rows_are_streamed():
    """The first row of eight thousand years costs no more than the first row of a day."""
    assert next(sales(datetime.date.min, 3_000_000, abs))["day"] == "0001-01-01"


def test_reading_tells_how_far_it_is():
    """After each day, so that no more than a day's work lies between two looks."""
    fractions: list[float] = []
    assert len(list(sales(DAY, 4, fractions.append))) > 4
    assert fractions == [0.25, 0.5, 0.75, 1.0]
    assert len(list(products(fractions.append))) == len(sample_data.PRODUCTS)
    assert fractions[-1] == 1.0


@pytest.mark.parametrize("year", [1, 2024, 9999])
def test_every_row_is_within_its_bounds(year):
    """Whole cents, known regions and categories, at least one and at most so many rows a day."""
    rows = list(sales(datetime.date(year, 12, 15), 14, abs))
    days = {row["day"] for row in rows}
    assert len(days) == 14
    assert len(rows) <= 14 * sample_data.SALES_PER_DAY_MAX
    assert len({row["order_id"] for row in rows}) == len(rows)
    assert {row["region"] for row in rows} <= set(sample_data.REGIONS)
    assert {row["category"] for row in rows} <= {product[1] for product in sample_data.PRODUCTS}
    assert all(1 <= row["units"] <= sample_data.UNITS_MAX for row in rows)
    assert all(row["revenue_cents"] == row["units"] * row["unit_price_cents"] > 0 for row in rows)


def test_rows_have_the_columns_that_are_declared():
    """Validation decides by the declared types."""
    for rows, columns in (
        (sales(DAY, 1, abs), sample_data.SALES_COLUMNS),
        (products(abs), sample_data.PRODUCT_COLUMNS),
    ):
        for row in rows:
            assert {name: type(value) for name, value in row.items()} == columns
