"""A table as csv, xlsx or pdf; amounts of money are decimals."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from streamer_reference.handlers.sample_data import Advance

LINES_PER_PAGE = 60
_A4_INCHES = (8.27, 11.69)


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
