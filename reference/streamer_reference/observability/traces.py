"""One trace per request, across router, processor and worker, with X-Ray's ids and header.

Off unless `start` was called: then a span costs nothing, and OpenTelemetry is not even imported.
The header travels with the stored request, because no invocation belongs to one request alone.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

HEADER = "X-Amzn-Trace-Id"
FLUSH_MS_MAX = 2_000

_OFF: AbstractContextManager[Any] = contextlib.nullcontext()
_provider: TracerProvider | None = None


def start(destination: str | SpanExporter) -> None:
    """Trace from now on: to `otlp`, an exporter of one's own, or the end of a file named here.

    `otlp` is what OpenTelemetry's layer for Lambda takes, at OTEL_EXPORTER_OTLP_ENDPOINT.
    """
    from opentelemetry.sdk.extension.aws.trace import AwsXRayIdGenerator  # noqa: PLC0415 - extra
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    global _provider  # noqa: PLW0603 - one in a process, as OpenTelemetry has it
    exporter = _exporter(destination) if isinstance(destination, str) else destination
    resource = Resource.create({"service.name": "streamer"})
    _provider = TracerProvider(resource=resource, id_generator=AwsXRayIdGenerator())
    _provider.add_span_processor(BatchSpanProcessor(exporter))


def _exporter(destination: str) -> SpanExporter:
    if destination == "otlp":
        from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415

        return trace_exporter.OTLPSpanExporter()
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415

    file = open(destination, "a", encoding="utf-8", buffering=1)  # noqa: PTH123, SIM115 - by lines
    console = ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + "\n")
    console.shutdown = file.close  # type: ignore[method-assign]  # its own closes nothing
    return console


def stop() -> None:
    """Write what is left, and trace no more."""
    global _provider  # noqa: PLW0603
    if _provider is not None:
        _provider.shutdown()
    _provider = None


def flush() -> None:
    """Hand over every span that has ended: a Lambda environment may be frozen after this."""
    if _provider is not None:
        _provider.force_flush(FLUSH_MS_MAX)


def span(name: str, parent: str = "", **attributes: str) -> AbstractContextManager[Any]:
    """A span around a block, below a header's, or the one around it, or Lambda's own."""
    if _provider is None:
        return _OFF
    from opentelemetry import context  # noqa: PLC0415
    from opentelemetry.propagators.aws import AwsXRayPropagator  # noqa: PLC0415

    around = context.get_current()
    parent = parent or ("" if around else os.environ.get("_X_AMZN_TRACE_ID", ""))
    if parent:
        around = AwsXRayPropagator().extract({HEADER: parent}, around)
    tracer = _provider.get_tracer("streamer_reference")
    return tracer.start_as_current_span(name, around, attributes=attributes)


def header() -> str:
    """The header of the span around, to be stored with a request; empty when nothing traces."""
    if _provider is None:
        return ""
    from opentelemetry.propagators.aws import AwsXRayPropagator  # noqa: PLC0415

    carrier: dict[str, str] = {}
    AwsXRayPropagator().inject(carrier)
    return carrier.get(HEADER, "")
