"""Filters and aggregates say what a naive computation says, in whatever order rows come."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.handlers import pipeline
from streamer_reference.handlers.pipeline import COMPARE, FOLD, aggregate, select
from streamer_reference.protocol.errors import HandlerError

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "region": st.sampled_from(["North", "South", "", "\U0001f600"]),
            "category": st.sampled_from(["a", "b"]),
            "cents": st.integers(-(10**30), 10**30),
        }
    ),
    max_size=30,
)
GROUP_BY = st.lists(st.sampled_from(["region", "category"]), max_size=2, unique=True)
METRICS = st.lists(
    st.tuples(st.sampled_from(sorted(FOLD)), st.just("cents")), min_size=1, max_size=5
)


def _naive(op: str, values: list[int]) -> Any:
    if op == "count":
        return len(values)
    if op == "sum":
        return sum(values)
    if not values:
        return None
    return (
        float(Fraction(sum(values), len(values)))
        if op == "mean"
        else {"min": min, "max": max}[op](values)
    )


@given(ROWS, GROUP_BY, METRICS)
def test_aggregates_are_what_a_naive_computation_gives(rows, group_by, metrics):
    """Every group is there once, and every number is exact; only a mean is rounded, once."""
    keys = sorted({tuple(row[name] for name in group_by) for row in rows}) or [()][len(group_by) :]
    expected = []
    for key in keys:
        values = [row["cents"] for row in rows if tuple(row[name] for name in group_by) == key]
        expected.append((*key, *(_naive(op, values) for op, _ in metrics)))
    assert aggregate(iter(rows), group_by, metrics) == expected


@given(ROWS, GROUP_BY, METRICS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(rows, group_by, metrics, dice: random.Random):
    """Sums of doubles would drift with the order; these do not."""
    mixed = list(rows)
    dice.shuffle(mixed)
    assert aggregate(mixed, group_by, metrics) == aggregate(rows, group_by, metrics)


@given(
    ROWS,
    st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]),
    st.integers() | st.floats(allow_nan=False),
)
def test_a_row_passes_a_filter_or_its_opposite(rows, op, value):
    """`seen` counts what was read and what passed, and every row passes one of the two."""
    opposite = {"eq": "ne", "ne": "eq", "lt": "ge", "ge": "lt", "le": "gt", "gt": "le"}[op]
    seen: Counter[str] = Counter()
    passed = list(select(rows, [("cents", op, value)], seen))
    others = list(select(rows, [("cents", opposite, value)], seen))
    assert len(passed) + len(others) == len(rows) == seen["rows_matched"]
    assert seen["rows_read"] == 2 * len(rows)
    assert all(row not in others for row in passed)


@given(ROWS, st.integers())
def test_conditions_are_all_met(rows, cents):
    """A list of conditions is a conjunction; the empty one lets everything through."""
    both = [("cents", "ge", cents), ("region", "contains", "o"), ("category", "in", ["a"])]
    passed = list(select(rows, both, Counter()))
    assert passed == [
        row
        for row in rows
        if row["cents"] >= cents and "o" in row["region"] and row["category"] == "a"
    ]
    assert list(select(rows, [], Counter())) == rows
    assert {op for _, op, _ in both} < set(COMPARE)


def test_groups_are_bounded(monkeypatch):
    """What is kept in memory has a bound, whatever the data."""
    monkeypatch.setattr(pipeline, "GROUPS_MAX", 3)
    rows = [{"n": number % 3} for number in range(9)]
    assert aggregate(rows, ["n"], [("count", "")]) == [(0, 3), (1, 3), (2, 3)]
    with pytest.raises(HandlerError) as caught:
        aggregate([*rows, {"n": 4}], ["n"], [("count", "")])
    assert caught.value.code == "TOO_MANY_ROWS"
