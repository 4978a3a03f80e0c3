"""Counters out of the embedded metric format."""

from __future__ import annotations

import json

import pytest

from streamproof.targets import metric_counters as metrics_module
from streamproof.targets.metric_counters import MetricCounters


def line(**changes):
    """One document with two dimension sets."""
    metric = {
        "Namespace": "Streamer",
        "Dimensions": [["service"], ["service", "action"]],
        "Metrics": [{"Name": "MessageSent", "Unit": "Count"}, {"Name": "Latency"}],
    }
    document = {
        "_aws": {"Timestamp": 1, "CloudWatchMetrics": [metric]},
        "service": "router",
        "action": "echo",
        "MessageSent": 2,
        "Latency": [1.5, 2.5],
        **changes,
    }
    return json.dumps(document)


def test_metrics_are_added_up_by_dimensions():
    """Each dimension set is a series of its own; totals count a document once."""
    counters = MetricCounters()
    assert counters.feed(line())
    assert counters.feed(line(action="ping", MessageSent=3))
    key = ("Streamer", "MessageSent", (("action", "echo"), ("service", "router")))
    assert counters.series[key].total == 2
    latency = counters.series[("Streamer", "Latency", (("service", "router"),))]
    assert (latency.count, latency.total) == (4, 8.0)
    assert counters.totals() == {"MessageSent": 5.0, "Latency": 8.0}


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        '{"a": 1}',
        '"_aws"',
        '{"_aws": 5}',
        '{"_aws": {"CloudWatchMetrics": 5}}',
        '{"_aws": nonsense',
        '"_aws"' + "x" * 300_000,
    ],
)
def test_other_lines_are_left_alone(text):
    """What is no document counts nothing and raises nothing."""
    counters = MetricCounters()
    assert not counters.feed(text)
    assert counters.series == {}


def test_documents_with_the_wrong_pieces_count_what_they_can():
    """A directive that is none, a value that is no number, dimensions that are no list."""
    counters = MetricCounters()
    metric = {"Namespace": "N", "Dimensions": "d", "Metrics": [{"Name": "m"}, 5, {"Name": "t"}]}
    document = {"_aws": {"CloudWatchMetrics": [5, metric]}, "m": 1, "t": True}
    assert counters.feed(json.dumps(document))
    assert counters.totals() == {"m": 1.0, "t": 0.0}
    assert counters.feed(json.dumps({"_aws": {"CloudWatchMetrics": [{"Metrics": 5}]}}))


def test_series_are_bounded(monkeypatch):
    """Dimensions with ids in them do not fill the memory."""
    monkeypatch.setattr(metrics_module, "SERIES_MAX", 3)
    counters = MetricCounters()
    for number in range(10):
        counters.feed(line(action=str(number)))
    assert len(counters.series) == 3
