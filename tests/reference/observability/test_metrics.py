"""Metrics: lines in CloudWatch's embedded format."""

from __future__ import annotations

import json

import pytest

from streamer_reference.observability import logs
from streamer_reference.observability.metrics import GATHERED_MAX, METRICS, Metrics


def _gather():
    lines: list[dict] = []
    return Metrics(lambda line: lines.append(json.loads(line)), lambda: 1.5, "staging"), lines


def test_a_flush_is_one_line_with_units_and_dimensions():
    """OBS-2, OBS-3: namespace, exact dimension set, values; counts add up."""
    gathered, lines = _gather()
    for value in (3, 4.5):
        gathered.add("QueueDelay", value)
    gathered.add("MessageSent")
    gathered.add("MessageSent", 2)
    gathered.flush()
    gathered.flush()
    definition = {
        "Namespace": "Streamer",
        "Dimensions": [["service", "environment"]],
        "Metrics": [
            {"Name": "QueueDelay", "Unit": "Milliseconds"},
            {"Name": "MessageSent", "Unit": "Count"},
        ],
    }
    assert lines == [
        {
            "_aws": {"Timestamp": 1500, "CloudWatchMetrics": [definition]},
            "service": "streamer",
            "environment": "staging",
            "QueueDelay": [3, 4.5],
            "MessageSent": [3],
        }
    ]


def test_a_metric_by_function_is_in_a_line_of_each_function():
    """A line has one dimension set, whose values are the line's."""
    gathered, lines = _gather()
    for function in ("router", "worker", "router"):
        logs.bind(function=function)
        gathered.add("ProcessingLatency", 7)
    logs.FORMATTER.thread_safe_clear_keys()
    gathered.flush()
    assert [(line["function"], line["ProcessingLatency"]) for line in lines] == [
        ("router", [7, 7]),
        ("worker", [7]),
    ]
    for line in lines:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [list(METRICS["ProcessingLatency"][1])]


def test_no_line_holds_more_than_a_hundred_values():
    """CloudWatch drops the rest; a metric that is done is not in the later lines."""
    gathered, lines = _gather()
    for value in range(250):
        gathered.add("QueueDelay", value)
    gathered.add("MessageSize", 7)
    gathered.flush()
    assert [len(line["QueueDelay"]) for line in lines] == [100, 100, 50]
    assert ["MessageSize" in line for line in lines] == [True, False, False]
    assert [value for line in lines for value in line["QueueDelay"]] == list(range(250))


def test_what_gathers_is_bounded():
    """Flushed by itself beyond a thousand values."""
    gathered, lines = _gather()
    for value in range(GATHERED_MAX):
        gathered.add("QueueDelay", value)
    assert len(lines) == GATHERED_MAX / 100


def test_an_unknown_metric_is_a_mistake(capsys):
    """Nobody would find it."""
    with pytest.raises(KeyError):
        Metrics().add("MessagesSent")
    default = Metrics()
    default.add("MessageSent")
    default.flush()
    assert json.loads(capsys.readouterr().out)["MessageSent"] == [1]
