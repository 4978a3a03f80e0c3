"""Files that handlers write: csv, xlsx or pdf, stored, and fetched by a URL that expires."""

from __future__ import annotations

import concurrent.futures
import csv
import dataclasses
import datetime
import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from streamer_reference.handlers.job import JSON, Job, in_thread
from streamer_reference.handlers.sample_data import Advance
from streamer_reference.protocol.errors import HandlerError

EXPIRES_S = 900
LINES_PER_PAGE = 60
_A4_INCHES = (8.27, 11.69)
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}
# What burns the processor has few threads: each delays the event loop by some 5 ms per switch, and
# so the renewal of the lease. It must not wait behind a few long ones either (ASYNC-6).
TABLES = concurrent.futures.ThreadPoolExecutor(max_workers=6, thread_name_prefix="table")
# Matplotlib is not safe in two threads at once.
PDF = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="pdf")


async def publish(
    job: Job, name: str, write: Callable[[Job, Path], dict[str, JSON]]
) -> dict[str, JSON]:
    """Have `write` fill a file, store it, and say where it is, with what `write` says of it."""
    if job.objects is None:
        raise HandlerError("SERVICE_UNAVAILABLE", "there is no object store to put the file in")
    generated_at = _rfc3339(job)
    # Each attempt has its own: one that was given up cannot replace the file of a later one.
    owner = json.dumps([job.tenant_id, job.user_id, job.request_id, job.attempt])
    key = f"files/{hashlib.sha256(owner.encode()).hexdigest()[:32]}/{name}"
    form = name.rpartition(".")[2]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, name)
        told = await in_thread(
            lambda job: {**write(job, path), "size_bytes": path.stat().st_size},
            job,
            PDF if form == "pdf" else TABLES,
        )
        await job.objects.put(key, path, CONTENT_TYPES[form])
    job.progress(100.0, "The file is stored")
    return {
        "url": job.objects.presign(key, EXPIRES_S),
        "format": form,
        "generated_at": generated_at,
        "expires_at": _rfc3339(job, EXPIRES_S),
        **told,
    }


def _rfc3339(job: Job, later_s: int = 0) -> str:
    moment = datetime.datetime.fromtimestamp(job.clock.now_ms() / 1000 + later_s, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """Rows of one length; with `charts`, the last column is drawn over the first."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    charts: bool


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> int:
    """One header line and one line per row, UTF-8, as RFC 4180 has it; returns how many rows.

    Rows are written as they come, so there may be any number.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(columns)
        return sum(lines.writerow(row) > 0 for row in rows)


def write_xlsx(path: Path, table: Table, advance: Advance) -> None:
    """A sheet with a line per row, and a sheet with the chart."""
    from openpyxl import Workbook  # noqa: PLC0415 - 0.2 s that only this format pays
    from openpyxl.chart import BarChart, Reference  # noqa: PLC0415 - as above

    book = Workbook(write_only=True)
    sheet = book.create_sheet("Data")
    sheet.append(table.columns)
    for number, row in enumerate(table.rows, 1):
        sheet.append(row)
        advance(number / len(table.rows))
    if table.charts:
        chart, last, width = BarChart(), len(table.rows) + 1, len(table.columns)
        chart.title, chart.width = table.title, 24  # cm
        chart.add_data(Reference(sheet, width, 1, width, last), titles_from_data=True)
        chart.set_categories(Reference(sheet, 1, 2, 1, last))
        chart.x_axis.delete = chart.y_axis.delete = False  # openpyxl 3.1 hides axes by default
        book.create_sheet("Chart").add_chart(chart, "A1")
    book.save(path)


def write_pdf(path: Path, table: Table, advance: Advance) -> None:
    """A page with the chart, and pages of lines."""
    # Never pyplot, which keeps every figure in a global list.
    from matplotlib.backends.backend_pdf import PdfPages  # noqa: PLC0415 - 0.5 s, only for pdf
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    head, *lines = (
        "".join(_shown(v).rjust(14) for v in row) for row in (table.columns, *table.rows)
    )
    with PdfPages(path, metadata={"Title": table.title}) as file:
        if table.charts:
            figure = Figure(figsize=_A4_INCHES)
            axes = figure.add_axes((0.12, 0.5, 0.8, 0.4), title=table.title)
            axes.bar(range(len(lines)), [row[-1] for row in table.rows])
            ticks = range(0, len(lines), math.ceil(len(lines) / 6))
            axes.set_xticks(ticks, [table.rows[tick][0] for tick in ticks])
            file.savefig(figure)
        for start in range(0, len(lines), LINES_PER_PAGE):
            page = "\n".join((table.title, "", head, *lines[start : start + LINES_PER_PAGE]))
            figure = Figure(figsize=_A4_INCHES)
            text = figure.text(0.08, 0.94, page, family="monospace", size=9, va="top")
            text.set_parse_math(False)  # or "$5 to $9" is a formula
            file.savefig(figure)
            advance(min(1.0, (start + LINES_PER_PAGE) / len(lines)))


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | Decimal) else str(value)
