"""Alarms and a dashboard as data, for whatever deploys them; `alarms.json` has the thresholds.

CloudWatch compares a metric under exactly one dimension set, so an alarm takes its set from the
same table as the code that emits. Members are CloudWatch's own, in snake_case.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streamer_reference.observability.logs import SERVICE
from streamer_reference.observability.metrics import METRICS, NAMESPACE

PERIOD_S: Final = 300
LAMBDA: Final = ("Invocations", "Errors", "Throttles", "Duration", "ConcurrentExecutions")


def alarms(environment: str, deployed: Mapping[str, str]) -> list[dict[str, Any]]:
    """The alarms of dev, staging or production; `deployed` has each function's name in Lambda."""
    rows = json.loads((Path(__file__).parent / "alarms.json").read_text(encoding="utf-8"))
    return [
        {
            "namespace": NAMESPACE,
            "period": PERIOD_S,
            "comparison_operator": "GreaterThanThreshold",
            "treat_missing_data": "notBreaching",
            **row,
            "name": "-".join(filter(None, (SERVICE, environment, function, row["metric_name"]))),
            "threshold": row["threshold"][environment],
            "dimensions": _dimensions(row["metric_name"], environment, function, deployed),
        }
        for row in rows
        for function in row.pop("functions", [""])
    ]


def dashboard(environment: str, deployed: Mapping[str, str], region: str) -> dict[str, Any]:
    """The body of a CloudWatch dashboard: a graph of each metric, then of the functions."""
    graphs = {
        metric: [
            [NAMESPACE, metric, *sum(_dimensions(metric, environment, function, {}).items(), ())]
            for function in (("router", "worker") if "function" in names else ("",))
        ]
        for metric, (_, names) in METRICS.items()
    } | {
        metric: [["AWS/Lambda", metric, "FunctionName", name] for name in deployed.values()]
        for metric in LAMBDA
    }
    widgets = []
    for place, (title, series) in enumerate(graphs.items()):
        stat = "Sum" if METRICS.get(title, ("Count",))[0] == "Count" else "p99"
        shown = {"title": title, "region": region, "period": 60, "stat": stat, "metrics": series}
        at = {"x": 8 * (place % 3), "y": 6 * (place // 3), "width": 8, "height": 6}
        widgets.append({"type": "metric", **at, "properties": shown})
    return {"widgets": widgets}


def _dimensions(
    metric: str, environment: str, function: str, deployed: Mapping[str, str]
) -> dict[str, str]:
    if metric not in METRICS:
        return {"FunctionName": deployed[function]}
    known = {"service": SERVICE, "environment": environment, "function": function}
    return {name: known[name] for name in METRICS[metric][1]}
