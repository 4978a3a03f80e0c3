"""A target is a line of text, and one parser reads it."""

from __future__ import annotations

import pytest

from streamproof.errors import UsageError
from streamproof.load.thresholds import Threshold, parse


def test_a_line_says_scenario_figure_quantile_and_limit():
    """Every part of the line is read, and the line can be shown again."""
    threshold = parse("request.latency_ms", " p(99) < 10 ")
    assert threshold == Threshold("request", "latency_ms", 0.99, 10.0, "p(99) < 10")
    assert threshold.line == 'request.latency_ms = "p(99) < 10"'
    assert (threshold.name, threshold.unit, threshold.statistic, threshold.limit_ms) == (
        "request.latency_ms",
        "ms",
        "p99",
        10.0,
    )


def test_quantiles_may_have_decimals():
    """p(99.9) is a quantile like others."""
    threshold = parse("send.latency_ms", "p(99.9)<=2.5")
    assert threshold.share == pytest.approx(0.999)
    assert threshold.statistic == "p99.9"


@pytest.mark.parametrize(
    ("key", "text", "words"),
    [
        ("request", "p(99) < 10", "named scenario.figure"),
        ("request.speed", "p(99) < 10", "no figure speed"),
        ("request.latency_ms", "p99 < 10", "not a target"),
        ("request.latency_ms", "p(99) > 10", "not a target"),
        ("request.latency_ms", "avg < 10", "not a target"),
        ("request.latency_ms", "p(0) < 10", "no quantile"),
        ("request.latency_ms", "p(99) < 0", "less than 0"),
    ],
)
def test_anything_else_is_refused_with_its_line(key, text, words):
    """A line that is no target names itself and what is wrong."""
    with pytest.raises(UsageError, match=words) as raised:
        parse(key, text)
    assert f'{key} = "{text}"' in raised.value.message
    assert raised.value.hint
