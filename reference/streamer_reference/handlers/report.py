"""`generate_report`: a real file, written from sample data, to be fetched until its URL expires."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import hashlib
import json
import threading

from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, Registry
from streamer_reference.handlers.report_data import Advance, Order, Report, bad_order, summarise
from streamer_reference.handlers.report_pdf import write_pdf
from streamer_reference.handlers.report_tables import write_csv, write_xlsx
from streamer_reference.protocol.errors import HandlerError

EXPIRES_S = 900  # a presigned URL lives 15 minutes; `status` signs a fresh one
TIME_LIMIT_S = 300.0
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}
_WRITERS = {"csv": write_csv, "xlsx": write_xlsx, "pdf": write_pdf}
_SUMMARISED, _WRITTEN = 40.0, 90.0  # percentages at which the work passes from part to part

registry = Registry()
# One thread: matplotlib is not safe in two at once, and a second would only fight for the lock.
_WRITER = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="report")


class _StoppedError(Exception):
    """The request ended while its file was being written; nobody waits for this."""


@registry.handler(
    "generate_report",
    estimated_duration_s=ALWAYS_QUEUED_S,
    time_limit_s=TIME_LIMIT_S,
    validate=bad_order,
)
async def generate_report(job: Job) -> JSON:
    """Write the report, store it, and end with where it is and what is in it."""
    if job.objects is None:
        raise HandlerError("SERVICE_UNAVAILABLE", "there is no object store to put the file in")
    order = Order.of(job.payload)
    generated_at = _now(job)
    stop = threading.Event()
    try:
        loop = asyncio.get_running_loop()
        report, content = await loop.run_in_executor(_WRITER, _make, job, order, generated_at, stop)
    finally:
        stop.set()  # a thread cannot be cancelled; it looks here at its next step
    key = _key(job, order)
    await job.objects.put(key, content, CONTENT_TYPES[order.format])
    expires_at = _now(job) + datetime.timedelta(seconds=EXPIRES_S)
    url = job.objects.presign(key, EXPIRES_S)
    job.progress(100.0, "The report is stored")
    return {
        "url": url,
        "format": order.format,
        "records": len(report.records),
        "size_bytes": len(content),
        "generated_at": _rfc3339(generated_at),
        "expires_at": _rfc3339(expires_at),
        "stats": report.stats(),
    }


def _make(
    job: Job, order: Order, generated_at: datetime.datetime, stop: threading.Event
) -> tuple[Report, bytes]:
    """The part that burns the processor: runs in the writer's thread, never on the event loop."""
    reading = _part(job, stop, 0.0, _SUMMARISED, "Reading sales")
    report = summarise(order, generated_at, reading)
    writing = _part(job, stop, _SUMMARISED, _WRITTEN, f"Writing {order.format}")
    return report, _WRITERS[order.format](report, writing)


def _part(job: Job, stop: threading.Event, low: float, high: float, message: str) -> Advance:
    """The `advance` of one part of the work: reports its share, and stops it when nobody waits."""

    def advance(fraction: float) -> None:
        if stop.is_set():
            raise _StoppedError
        job.progress(round(low + fraction * (high - low), 1), message)

    return advance


def _key(job: Job, order: Order) -> str:
    """One per attempt: an attempt that was given up cannot replace the file of a later one."""
    owner = json.dumps([job.tenant_id, job.user_id, job.request_id, job.attempt])
    name = f"sales-{order.report_type}-{order.start}-{order.end}.{order.format}"
    return f"reports/{hashlib.sha256(owner.encode()).hexdigest()[:32]}/{name}"


def _now(job: Job) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(job.clock.now_ms() / 1000, datetime.UTC)


def _rfc3339(moment: datetime.datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
