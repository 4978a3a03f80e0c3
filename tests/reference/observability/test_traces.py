"""Spans: one trace per request, with X-Ray's ids, and nothing at all while nothing traces."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from streamer_reference.observability import traces
from support.observed import observed


@pytest.fixture
def exporter():
    """Where spans of this process go, until the test ends."""
    memory = InMemorySpanExporter()
    traces.start(memory)
    yield memory
    traces.stop()


async def test_one_trace_per_request_across_its_functions(tmp_path, exporter):
    """OBS-4: router, processor and worker, whoever else is in the batch."""
    async with observed(tmp_path) as world:
        await world.connect("c1")
        for name in ("r1", "r2"):
            await world.say("c1", "delay", {"duration_ms": 1}, id=name)
        (event,) = await world.hand_over()
        await world.work(event)
        await world.say("c1", "echo")
        stored = world.services.store.reader.execute("SELECT trace_header FROM requests").fetchall()
    traces.flush()
    by_trace: dict[int, dict[str, object]] = {}
    for span in exporter.get_finished_spans():
        by_trace.setdefault(span.context.trace_id, {})[span.name] = span
    names = sorted(sorted(spans) for spans in by_trace.values())
    assert names == [["processor", "router", "worker"]] * 2 + [["router"]]
    for spans in by_trace.values():
        router = spans.pop("router")
        assert router.parent is None
        assert all(span.parent.span_id == router.context.span_id for span in spans.values())
    assert len({header for (header,) in stored}) == 2
    for (header,) in stored:
        assert re.fullmatch(
            r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=1", header
        )


async def test_lambda_says_which_trace_an_invocation_belongs_to(exporter, monkeypatch):
    """The runtime puts the header into a variable; a header of a request goes before it."""
    root = "1-5759e988-bd862e3fe1be46a994272793"
    monkeypatch.setenv("_X_AMZN_TRACE_ID", f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1")
    with traces.span("router"):
        assert traces.header().startswith(f"Root={root};")
    other = "Root=1-5759e988-000000000000000000000001;Parent=53995c3f42cd8ad8;Sampled=1"
    with traces.span("worker", other):
        assert traces.header().startswith(other[:40])


def test_nothing_is_traced_unless_asked_for():
    """No span, no header, and OpenTelemetry is not imported by the functions."""
    with traces.span("router"):
        assert traces.header() == ""
    traces.flush()
    traces.stop()
    program = (
        "import sys\n"
        "from streamer_reference.lambdas import router, worker\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_spans_go_to_the_end_of_a_file(tmp_path):
    """One object per line, so that several processes may write to it."""
    program = (
        "import sys\n"
        "from streamer_reference.observability import traces\n"
        "traces.start(sys.argv[1])\n"
        "with traces.span('router'): pass\n"
        "traces.stop()"
    )
    file = tmp_path / "spans"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(file)], check=True)
    spans = [json.loads(line) for line in file.read_text().splitlines()]
    assert [span["name"] for span in spans] == ["router", "router"]
    assert len({span["context"]["trace_id"] for span in spans}) == 2


def test_the_exporter_for_aws_speaks_otlp(monkeypatch):
    """To the collector that its own variable names."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    exporter = traces._exporter("otlp")
    assert exporter._endpoint == "http://127.0.0.1:4318/v1/traces"
    exporter.shutdown()
