"""The two charts of a load scenario, as SVG that belongs to the page it stands in.

Matplotlib draws with placeholder colours; afterwards each becomes a CSS variable of the page, so
that light, dark and print are the page's choice, and text takes the page's font. Both charts share
one vertical scale. Each is drawn twice, wide and narrow: a chart that only shrinks is unreadable
on a telephone. Matplotlib is imported when a chart is drawn, and only its object oriented API.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
from typing import TYPE_CHECKING, Any

from streamproof.report import words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamproof.results import Curve, LoadTarget, ScenarioResult

# Placeholder -> CSS variable. No pure black: matplotlib leaves it out, and it would not adapt.
COLOURS = {
    "#010203": "--ink",
    "#020304": "--muted",
    "#030405": "--hairline",
    "#040506": "--accent",
    "#050607": "--accent-soft",
    "#060708": "--floor",
    "#070809": "--limit",
}
INK, MUTED, HAIRLINE, ACCENT, SOFT, FLOOR, LIMIT = COLOURS

CORRECTED, UNCORRECTED, CALIBRATION = "corrected", "uncorrected", "calibration"
LABELS = {
    CORRECTED: "corrected, from the intended moment",
    UNCORRECTED: "as a closed loop would say",
    CALIBRATION: "bare echo server, the noise floor",
}
_STYLE = {CORRECTED: (ACCENT, 1.8), UNCORRECTED: (SOFT, 1.1), CALIBRATION: (FLOOR, 1.1)}

_THIN_BELOW = 10  # a quantile that fewer samples than this lie beyond is drawn thin
_POINTS_PER_INCH = 72


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """A chart's size in CSS pixels, and how many labels fit."""

    name: str
    width: int
    height: int
    roomy: bool


WIDE = Size("wide", 700, 330, roomy=True)
NARROW = Size("narrow", 340, 270, roomy=False)
SIZES = (WIDE, NARROW)


def span_ms(scenario: ScenarioResult) -> tuple[float, float]:
    """The vertical range that both charts of a scenario share, in milliseconds."""
    seen = [ms for curve in scenario.curves for _, ms in curve.points]
    seen += [
        value for row in scenario.seconds for name, value in row.items() if name.endswith("_ms")
    ]
    seen += [target.limit for target in scenario.targets if target.unit == "ms"]
    seen = [ms for ms in seen if ms > 0] or [1.0]
    low, high = max(min(seen), max(seen) / 10_000), max(seen)
    return low / 1.15, high * 1.35


def ticks_125(low: float, high: float) -> list[float]:
    """The numbers 1, 2 and 5 of each decade within a range; fewer when the range is long."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 2_000 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _figure(size: Size) -> tuple[Any, Any]:
    """An empty figure with one quiet pair of axes."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - a contract report needs no matplotlib

    inches = (size.width / _POINTS_PER_INCH, size.height / _POINTS_PER_INCH)
    figure = Figure(figsize=inches, dpi=_POINTS_PER_INCH, facecolor="none")
    left, right = 40 / size.width, 1 - 8 / size.width
    axes = figure.add_axes((left, 34 / size.height, right - left, 1 - 62 / size.height))
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(HAIRLINE)
    axes.tick_params(length=0, colors=MUTED, labelcolor=MUTED, labelsize=11, pad=6)
    return figure, axes


def _vertical(axes: Any, low: float, high: float) -> None:
    """The shared logarithmic scale in milliseconds, with hairlines at 1, 2 and 5."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: PLC0415

    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(ticks_125(low, high)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axes.grid(visible=True, axis="y", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.annotate(
        "milliseconds", (0, 1), (-40, 14), "axes fraction", "offset points", color=MUTED, size=11
    )


def _limits(axes: Any, targets: Sequence[LoadTarget]) -> None:
    """Each latency limit as a dashed line that carries its text."""
    for target in targets:
        if target.unit != "ms":
            continue
        axes.axhline(target.limit, color=LIMIT, linewidth=1, dashes=(5, 4), zorder=2)
        axes.annotate(
            f"{words.figure(target)} limit {words.number(target.limit)}".lstrip(),
            (0, target.limit),
            (6, 5),
            ("axes fraction", "data"),
            "offset points",
            color=LIMIT,
            size=11,
        )


def _tail_split(curve: Curve) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """The curve as (1/(1-p), ms), and its end that rests on fewer than ten samples."""
    solid_end = 1 - _THIN_BELOW / max(curve.samples, 1)
    points = [(1 / (1 - q), ms) for q, ms in curve.points if q < 1 and ms > 0]
    solid = [point for point in points if 1 - 1 / point[0] <= solid_end]
    return solid, points[max(len(solid) - 1, 0) :]


def _draw_curves(axes: Any, scenario: ScenarioResult, size: Size) -> float:
    """All curves of a scenario; answers where the horizontal axis ends."""
    end = 1000.0
    for curve in scenario.curves:
        colour, width = _STYLE.get(curve.name, (MUTED, 1.0))
        solid, thin = _tail_split(curve)
        if solid:
            axes.plot(*zip(*solid, strict=True), color=colour, linewidth=width, zorder=3)
        if thin:
            axes.plot(*zip(*thin, strict=True), color=colour, linewidth=0.6, zorder=3)
            end = max(end, thin[-1][0])
    for target in scenario.targets:
        share = words.quantile(target.limit_text)
        if target.unit == "ms" and share is not None:
            at = 1 / (1 - share)
            axes.plot([at], [target.measured], "o", color=ACCENT, markersize=5.5, zorder=4)
            interval = ([at, at], [target.interval_low, target.interval_high])
            axes.plot(*interval, color=ACCENT, linewidth=1.6, zorder=4)
            axes.annotate(
                f"{words.figure(target)} {words.number(target.measured)}",
                (at, target.interval_high),
                (-5 if size.roomy else -3, 6),
                "data",
                "offset points",
                ha="right",
                color=ACCENT,
                size=12,
                weight="bold",
            )
    return end


def curve_chart(scenario: ScenarioResult, size: Size) -> str:
    """Latency by percentile on a 1/(1-p) axis, so that each step right is ten times rarer."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: PLC0415

    figure, axes = _figure(size)
    low, high = span_ms(scenario)
    axes.set_xscale("log")
    _vertical(axes, low, high)
    end = _draw_curves(axes, scenario, size)
    axes.set_xlim(1, end)
    first = 1 if size.roomy else 2  # the two would touch on a narrow chart
    marks = {1: "0", 2: "50", 10: "90", 100: "99", 1000: "99.9", 10_000: "99.99", 1e5: "99.999"}
    axes.xaxis.set_major_locator(FixedLocator([at for at in marks if first <= at <= end]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: f"{marks[round(at)]} %"))
    _limits(axes, scenario.targets)
    return _svg(figure, f"{scenario.name}-curve-{size.name}", "Latency by percentile")


SERIES = (("p99_ms", ACCENT, 1.4), ("p50_ms", SOFT, 1.4), ("lag_p99_ms", FLOOR, 1.0))
SERIES_LABELS = {
    "p99_ms": "p99 of each second",
    "p50_ms": "median of each second",
    "lag_p99_ms": "generator's own lag, p99",
}


def time_chart(scenario: ScenarioResult, size: Size) -> str:
    """Latency and the generator's lag, second by second, on the scale of the curve chart."""
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    figure, axes = _figure(size)
    low, high = span_ms(scenario)
    _vertical(axes, low, high)
    seconds = [row["second"] for row in scenario.seconds]
    for name, colour, width in SERIES:
        values = [row.get(name) or math.nan for row in scenario.seconds]
        axes.plot(seconds, values, color=colour, linewidth=width, zorder=3)
    axes.set_xlim(min(seconds), max(*seconds, min(seconds) + 1))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7 if size.roomy else 4, integer=True))
    axes.xaxis.set_major_formatter(lambda at, _: f"{at:.0f} s")
    _limits(axes, scenario.targets)
    return _svg(figure, f"{scenario.name}-time-{size.name}", "Latency over time")


def _svg(figure: Any, salt: str, label: str) -> str:
    """The figure as an inline SVG element without fixed colours, fonts, metadata or links."""
    import matplotlib as mpl  # noqa: PLC0415 - a contract report needs no matplotlib

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return adapt(buffer.getvalue(), label)


def adapt(svg: str, label: str) -> str:
    """Turn matplotlib's SVG file into an element of the page: variables, classes, no namespaces."""
    text = svg[svg.index("<svg") :]
    steps: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
        (r"<metadata>.*?</metadata>\s*", ""),
        (r"<style type=\"text/css\">.*?</style>", ""),
        (r"<!--.*?-->\s*", ""),
        (r'\sxmlns(:\w+)?="[^"]*"', ""),
        (r"xlink:href", "href"),
        (r"font(-family)?: (?P<size>[\w. ]*?px )?'[^;\"]*", _font),
        (r"#[0-9a-f]{6}", lambda found: f"var({COLOURS.get(found[0], '--ink')})"),
        (r'\sid="(?![mp][0-9a-f]{10})[^"]*"', ""),
        (r'\stransform="rotate\(-0 [^"]*"', ""),
        (r"(\d\.\d\d)\d+", r"\1"),
        (r"\n\s*", " "),
    )
    for pattern, new in steps:
        text = re.sub(pattern, new, text, flags=re.DOTALL)
    head = re.search(r'viewBox="[^"]*"', text)
    opening = f'<svg {head[0] if head else ""} role="img" aria-label="{label}">'
    return re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1, flags=re.DOTALL).strip()


def _font(found: re.Match[str]) -> str:
    """A font declaration that keeps size and weight and leaves the family to the page."""
    size = (found["size"] or "").strip()
    if not size:
        return "font-family: inherit"
    *weight, pixels = size.split()
    bold = "; font-weight: 600" if any(word in ("bold", "700") for word in weight) else ""
    return f"font-size: {pixels}{bold}"
