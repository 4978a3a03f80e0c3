"""Alarms and the dashboard, held against what the functions emit."""

from __future__ import annotations

import json

import pytest

from streamer_reference.connection.errors import ServiceError
from streamer_reference.observability.alarms import alarms, dashboard
from streamer_reference.observability.metrics import METRICS
from streamer_reference.sweeper import sweep
from support.observed import observed, token

FUNCTIONS = ("connect", "disconnect", "router", "processor", "worker", "isolated-worker", "sweeper")
DEPLOYED = {name: f"streamer-{name}-1a2b3c" for name in FUNCTIONS}
# Source: "Types of metrics for Lambda functions"; IteratorAge where a stream is mapped.
LAMBDA_EMITS = {"Invocations", "Errors", "Throttles", "Duration", "ConcurrentExecutions"}
LAMBDA_EMITS |= {"IteratorAge"}


async def _everything(world):
    """Make every metric happen."""
    assert await world.connect("c1") == 200
    assert await world.connect("c2", token(sub="")) == 401
    await world.say("c1", "ping")
    await world.say("c1", "broadcast", {"payload": 1})
    await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
    await world.say("c1", "delay", {"duration_ms": 1}, id="r2")
    (event,) = await world.hand_over()
    dead, *alive = event["request_keys"]
    services = world.services
    await services.store.renew("dead", "i0", 0)
    assert await services.store.claim(dead, "dead", services.clock.now_ms(), alone=False)
    await sweep(services)
    await world.work({"request_keys": alive})
    world.fault = ServiceError("500")
    for _ in range(3):
        await world.say("c1", "ping")
    await world.disconnect("c1")
    services.metrics.flush()


def _emitted(lines):
    """Each (namespace, metric, dimensions) of embedded metric lines."""
    return {
        (directive["Namespace"], metric["Name"], tuple((key, line[key]) for key in names))
        for line in lines
        for directive in line["_aws"]["CloudWatchMetrics"]
        for names in directive["Dimensions"]
        for metric in directive["Metrics"]
    }


async def test_each_alarm_is_on_what_the_code_emits(tmp_path):
    """OBS-2, OBS-3: all twelve metrics come, and each alarm names one with its exact dimensions."""
    async with observed(tmp_path) as world:
        await _everything(world)
        emitted = _emitted(world.lines)
    assert {name for _, name, _ in emitted} == set(METRICS)
    assert len(METRICS) == 12
    for alarm in alarms("dev", DEPLOYED):
        dimensions = tuple(alarm["dimensions"].items())
        if alarm["namespace"] == "AWS/Lambda":
            assert alarm["metric_name"] in LAMBDA_EMITS
            assert [key for key, _ in dimensions] == ["FunctionName"]
            assert alarm["dimensions"]["FunctionName"] in DEPLOYED.values()
        else:
            assert (alarm["namespace"], alarm["metric_name"], dimensions) in emitted
    for widget in dashboard("dev", DEPLOYED, "us-east-1")["widgets"]:
        for namespace, metric, *pairs in widget["properties"]["metrics"]:
            dimensions = tuple(zip(pairs[::2], pairs[1::2], strict=True))
            if namespace == "AWS/Lambda":
                assert metric in LAMBDA_EMITS
                assert dimensions[0][1] in DEPLOYED.values()
            else:
                assert (namespace, metric, dimensions) in emitted


def test_thresholds_tighten_from_dev_to_production():
    """Each alarm has one for each environment, and its name says which."""
    by_environment = [alarms(name, DEPLOYED) for name in ("dev", "staging", "production")]
    assert len({len(found) for found in by_environment}) == 1
    for dev, staging, production in zip(*by_environment, strict=True):
        assert dev["threshold"] >= staging["threshold"] >= production["threshold"] > 0
        assert production["name"].startswith("streamer-production-")
        assert dev["name"] != staging["name"]
    for found in by_environment:
        assert len({alarm["name"] for alarm in found}) == len(found)
    with pytest.raises(KeyError):
        alarms("test", DEPLOYED)


def test_what_an_operator_is_woken_for_has_an_alarm():
    """Each kind of failure, and of each function that it raises or is refused."""
    found = alarms("production", DEPLOYED)
    watched = {alarm["metric_name"] for alarm in found}
    for metric in ("Errors", "Throttles"):
        named = {a["dimensions"]["FunctionName"] for a in found if a["metric_name"] == metric}
        assert named == set(DEPLOYED.values())
    assert watched >= {
        "AuthenticationFailed",
        "MessageFailed",
        "ProcessingLatency",
        "CircuitOpen",
        "LeaseExpired",
        "QueueDelay",
        "Errors",
        "Duration",
        "Throttles",
    }


def test_the_dashboard_is_json_within_its_bounds():
    """CloudWatch takes 500 widgets on a grid of 24 columns; none lies over another."""
    body = dashboard("production", DEPLOYED, "eu-central-1")
    places = {(w["x"], w["y"]) for w in body["widgets"]}
    assert len(places) == len(body["widgets"]) >= len(METRICS)
    assert all(w["x"] + w["width"] <= 24 for w in body["widgets"])
    assert json.loads(json.dumps(body)) == body
