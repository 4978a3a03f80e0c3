"""A report as csv and as xlsx, in memory: it has at most 366 records."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from streamer_reference.handlers.report_data import Advance, Record, Report
from streamer_reference.handlers.sample_data import CATEGORIES

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook
    from openpyxl.worksheet.worksheet import Worksheet

COLUMNS = ("period", "sales", "units", *CATEGORIES, "revenue")
_FIRST_MONEY_COLUMN = 4
_HEAD_COLOUR = "1F3A5F"


def write_csv(report: Report, advance: Advance) -> bytes:
    """One header line and one line per record, UTF-8, as RFC 4180 has it."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    lines.writerow(COLUMNS)
    for record in report.records:
        counts, amounts = _cells(record)
        lines.writerow((*counts, *(f"{cents // 100}.{cents % 100:02d}" for cents in amounts)))
    advance(1.0)
    return text.getvalue().encode()


def _cells(record: Record) -> tuple[tuple[str, int, int], tuple[int, ...]]:
    amounts = (*(record.revenue_cents[name] for name in CATEGORIES), record.total_cents)
    return (record.period, record.sales, record.units), amounts


def write_xlsx(report: Report, advance: Advance) -> bytes:
    """A workbook: a sheet with a line per record, and one with charts when they were asked for."""
    from openpyxl import Workbook  # noqa: PLC0415 - 0.2 s that only this format pays

    book = Workbook()
    book.properties.title = report.order.title
    book.properties.creator = "Streamer"
    sheet = book.worksheets[0]
    _fill(sheet, report, advance)
    if report.order.include_charts:
        _add_charts(book, sheet, report)
    content = io.BytesIO()
    book.save(content)
    advance(1.0)
    return content.getvalue()


def _fill(sheet: Worksheet, report: Report, advance: Advance) -> None:
    from openpyxl.styles import Font, PatternFill  # noqa: PLC0415 - as above
    from openpyxl.utils import get_column_letter  # noqa: PLC0415 - as above

    sheet.title = "Data"
    sheet.append(COLUMNS)
    for number, record in enumerate(report.records, 1):
        counts, amounts = _cells(record)
        sheet.append((*counts, *(cents / 100 for cents in amounts)))
        advance(0.8 * number / len(report.records))
    for column, head in enumerate(sheet[1], 1):
        head.font = Font(bold=True, color="FFFFFF")
        head.fill = PatternFill("solid", fgColor=_HEAD_COLOUR)
        sheet.column_dimensions[get_column_letter(column)].width = 14
    for row in sheet.iter_rows(min_row=2, min_col=_FIRST_MONEY_COLUMN):
        for cell in row:
            cell.number_format = "#,##0.00"
    sheet.freeze_panes = "B2"
    sheet.auto_filter.ref = sheet.dimensions


def _add_charts(book: Workbook, data: Worksheet, report: Report) -> None:
    """The charts point at cells, so they follow when somebody corrects a number."""
    from openpyxl.chart import BarChart, PieChart, Reference  # noqa: PLC0415 - as above

    sheet = book.create_sheet("Charts")
    sheet.append(("category", "revenue"))
    for name, cents in report.total.revenue_cents.items():
        sheet.append((name, cents / 100))
    last, columns = len(report.records) + 1, (_FIRST_MONEY_COLUMN, len(COLUMNS) - 1)
    time = BarChart()
    time.grouping, time.overlap, time.title = "stacked", 100, "Revenue by period"
    time.add_data(Reference(data, columns[0], 1, columns[1], last), titles_from_data=True)
    time.set_categories(Reference(data, 1, 2, 1, last))
    time.x_axis.delete = time.y_axis.delete = False  # openpyxl 3.1 hides axes unless told not to
    share = PieChart()
    share.title = "Revenue by category"
    share.add_data(Reference(sheet, 2, 1, 2, sheet.max_row), titles_from_data=True)
    share.set_categories(Reference(sheet, 1, 2, 1, sheet.max_row))
    for chart, place in ((time, "D2"), (share, "D22")):
        chart.height, chart.width = 9, 24  # cm
        sheet.add_chart(chart, place)
