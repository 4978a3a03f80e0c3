"""A report as pdf: key figures and charts on the first page, then the records as a table.

Drawn with matplotlib's objects and never through pyplot, which keeps every figure in a global list.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streamer_reference.handlers.report_data import Advance, Record, Report
from streamer_reference.handlers.sample_data import CATEGORIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

A4_INCHES = (8.27, 11.69)
ROWS_PER_PAGE, ROWS_ON_FIRST_PAGE = 43, 37  # the first has rows only where it has no charts
BARS_MAX = 62  # of a chart; of more than two months of days, weeks are summed
INK, QUIET, RULE, BAND, ACCENT = "#1b2733", "#6b7885", "#d5dbe1", "#f3f6f9", "#1f3a5f"
COLOURS = dict(
    zip(CATEGORIES, ("#1f3a5f", "#3f7cac", "#95c3d4", "#e0a458", "#b5523b"), strict=True)
)
# In fractions of the page, as matplotlib counts: x to the right, y up.
LEFT, RIGHT = 0.08, 0.92
ROW = 0.0184


def write_pdf(report: Report, advance: Advance) -> bytes:
    """The pages of a report as one file."""
    from matplotlib.backends.backend_pdf import PdfPages  # noqa: PLC0415 - 0.5 s, only for pdf

    first = 0 if report.order.include_charts else ROWS_ON_FIRST_PAGE
    rest = report.records[first:]
    pages = 1 + math.ceil(len(rest) / ROWS_PER_PAGE)
    content = io.BytesIO()
    metadata = {"Title": report.order.title, "CreationDate": report.generated_at}
    with PdfPages(content, metadata=metadata) as file:
        for number in range(1, pages + 1):
            figure = _page(report, f"{number} / {pages}")
            if number == 1:
                _draw_figures(figure, report)
                _draw_table(figure, report.records[:first], 0.76)
            else:
                start = (number - 2) * ROWS_PER_PAGE
                _draw_table(figure, rest[start : start + ROWS_PER_PAGE], 0.875)
            file.savefig(figure)
            advance(number / pages)
    return content.getvalue()


def _page(report: Report, number: str) -> Figure:
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure = Figure(figsize=A4_INCHES)
    span = f"{report.order.start:%d %b %Y} to {report.order.end:%d %b %Y}"
    source = f"Generated {report.generated_at:%Y-%m-%d %H:%M} UTC from sample data"
    _write(figure, LEFT, 0.93, report.order.title, size=19, weight="bold")
    _write(figure, RIGHT, 0.93, span, size=10, color=QUIET, ha="right")
    _write(figure, LEFT, 0.04, source, size=8, color=QUIET)
    _write(figure, RIGHT, 0.04, number, size=8, color=QUIET, ha="right")
    _fill(figure, (LEFT, 0.055, RIGHT - LEFT, 0.0006), RULE)
    return figure


def _draw_figures(figure: Figure, report: Report) -> None:
    total = report.total
    tiles = {
        "Revenue": f"{total.total_cents / 100:,.0f}",
        "Sales": f"{total.sales:,}",
        "Units": f"{total.units:,}",
        "Average sale": f"{total.total_cents / total.sales / 100:,.2f}",
    }
    for index, (label, value) in enumerate(tiles.items()):
        left = LEFT + index * 0.215
        _fill(figure, (left, 0.825, 0.195, 0.07), BAND)
        _write(figure, left + 0.013, 0.872, label, size=8.5, color=QUIET)
        _write(figure, left + 0.013, 0.839, value, size=15, weight="bold", color=ACCENT)
    if report.order.include_charts:
        _draw_time(figure, report.records)
        _draw_ranking(figure, 0.14, "Revenue by category", total.revenue_cents)
        _draw_ranking(figure, 0.60, "Revenue by region", report.cents_by_region)


def _axes(figure: Figure, title: str, left: float, bottom: float, width: float) -> Axes:
    axes = figure.add_axes((left, bottom, width, 0.25))
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK, pad=12)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=5, labelsize=8, labelcolor=QUIET)
    axes.set_axisbelow(True)
    return axes


def _draw_time(figure: Figure, records: tuple[Record, ...]) -> None:
    """Stacked bars, one colour a category; a bar is a period, or a week of days."""
    merged = 7 if len(records) > BARS_MAX else 1
    starts = range(0, len(records), merged)
    what = "week" if merged > 1 else "period"
    axes = _axes(figure, f"Revenue by {what}, in thousands", LEFT + 0.03, 0.50, 0.81)
    floor = [0.0] * len(starts)
    for name, colour in COLOURS.items():
        heights = [
            sum(record.revenue_cents[name] for record in records[start : start + merged]) / 100_000
            for start in starts
        ]
        axes.bar(range(len(starts)), heights, 0.68, bottom=floor, color=colour, label=name)
        floor = [low + height for low, height in zip(floor, heights, strict=True)]
    middle, half = (len(starts) - 1) / 2, max(len(starts), 5) / 2
    axes.set_xlim(middle - half, middle + half)  # a lone bar stays a bar
    labelled = range(0, len(starts), math.ceil(len(starts) / 8))
    axes.set_xticks(labelled, [records[place * merged].period for place in labelled])
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, frameon=False, fontsize=8,
        handlelength=0.9, handleheight=0.9, columnspacing=1.2, labelcolor=QUIET,
    )  # fmt: skip


def _draw_ranking(figure: Figure, left: float, title: str, cents: Mapping[str, int]) -> None:
    """Bars from the largest down, each with its amount at the end."""
    axes = _axes(figure, title, left, 0.13, 0.32)
    names = sorted(cents, key=lambda name: cents[name])
    colours = [COLOURS.get(name, QUIET) for name in names]
    bars = axes.barh(names, [cents[name] for name in names], 0.62, color=colours)
    axes.bar_label(bars, [f"{cents[name] / 100:,.0f}" for name in names], padding=4, fontsize=8)
    axes.set_xlim(0, max(cents.values()) * 1.3)
    axes.set_xticks([])


def _draw_table(figure: Figure, records: tuple[Record, ...], top: float) -> None:
    if not records:
        return
    _fill(figure, (LEFT, top - 0.006, RIGHT - LEFT, 0.022), ACCENT)
    heads = ("Period", "Sales", "Units", *CATEGORIES, "Revenue")
    _write_row(figure, top, heads, color="white", weight="bold")
    for index, record in enumerate(records, 1):
        y = top - 0.004 - index * ROW
        if index % 2 == 0:
            _fill(figure, (LEFT, y - 0.005, RIGHT - LEFT, ROW), BAND)
        amounts = (*(record.revenue_cents[name] for name in CATEGORIES), record.total_cents)
        counts = (f"{record.sales:,}", f"{record.units:,}")
        _write_row(figure, y, (record.period, *counts, *(f"{c / 100:,.0f}" for c in amounts)))


def _write_row(figure: Figure, y: float, cells: tuple[str, ...], **how: Any) -> None:
    step = (RIGHT - LEFT - 0.02) / (len(cells) - 0.2)
    for index, cell in enumerate(cells):
        x = LEFT + 0.01 + (step * (index + 0.8) if index else 0)
        _write(figure, x, y, cell, size=8, ha="right" if index else "left", **how)


def _write(figure: Figure, x: float, y: float, text: str, *, size: float, **how: Any) -> None:
    # Unless told not to, matplotlib reads "$5 to $9" as a formula.
    figure.text(x, y, text, fontsize=size, parse_math=False, **{"color": INK, **how})


def _fill(figure: Figure, box: tuple[float, float, float, float], colour: str) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - as above

    figure.add_artist(Rectangle(box[:2], box[2], box[3], facecolor=colour, linewidth=0))
