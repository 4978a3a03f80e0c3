"""The charts: an SVG element that takes colours and fonts from the page."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree as ET

import pytest

from streamproof.report import charts
from streamproof.results import Curve
from support.sample_results import sample_scenario

DRAWN = [charts.curve_chart, charts.time_chart]


@pytest.mark.parametrize("draw", DRAWN)
@pytest.mark.parametrize("size", charts.SIZES, ids=lambda size: size.name)
def test_a_chart_belongs_to_its_page(draw, size):
    """No colour, font, link, namespace or metadata of its own; it scales, and says what it is."""
    svg = draw(sample_scenario(), size)
    root = ET.fromstring(svg)
    assert root.get("viewBox") == f"0 0 {size.width} {size.height}"
    assert root.get("width") is None
    assert root.get("aria-label")
    assert not re.search(r"#[0-9a-f]{6}\b", svg)
    for word in ("http", "xlink", "xmlns", "<metadata", "<style", "DejaVu", "<!--"):
        assert word not in svg
    assert "var(--accent)" in svg
    assert "var(--limit)" in svg


@pytest.mark.parametrize("draw", DRAWN)
def test_a_chart_is_drawn_the_same_each_time(draw):
    """Equal results are equal files."""
    assert draw(sample_scenario(), charts.WIDE) == draw(sample_scenario(), charts.WIDE)


def test_every_reference_inside_a_chart_has_its_element():
    """What clips and marks is found under the name by which it is used."""
    svg = charts.curve_chart(sample_scenario(), charts.WIDE)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    assert used
    assert used <= set(re.findall(r'id="([^"]+)"', svg))


def test_two_charts_share_no_name():
    """Several charts stand in one page, where a name may occur once."""
    names = [
        set(re.findall(r'id="([^"]+)"', draw(sample_scenario(), size)))
        for draw in DRAWN
        for size in charts.SIZES
    ]
    assert sum(map(len, names)) == len(set.union(*names))


def test_the_measured_figure_and_the_limit_are_written():
    """The chart can be read without its legend."""
    svg = charts.curve_chart(sample_scenario(), charts.WIDE)
    for text in ("p99 4.21", "p99 limit 10", "99.9 %", "milliseconds"):
        assert f">{text}</text>" in svg


def test_a_target_on_something_else_is_not_drawn():
    """A limit that is no latency has no place on a scale of milliseconds."""
    scenario = sample_scenario()
    target = dataclasses.replace(scenario.targets[0], unit="%")
    svg = charts.curve_chart(dataclasses.replace(scenario, targets=(target,)), charts.WIDE)
    assert "limit" not in svg.replace("var(--limit)", "")


def test_a_curve_of_few_samples_is_thin_all_along():
    """Fewer than ten samples make no thick line."""
    curve = Curve("corrected", 5, ((0.0, 1.0), (0.5, 2.0), (0.8, 3.0)))
    solid, thin = charts._tail_split(curve)
    assert solid == []
    assert len(thin) == 3


def test_an_empty_curve_and_an_unknown_name_are_drawn():
    """A curve that nobody knows is drawn quietly, one without points not at all."""
    curves = (Curve("corrected", 0, ()), Curve("other", 100, ((0.0, 1.0), (0.9, 2.0), (1.0, 3.0))))
    scenario = dataclasses.replace(sample_scenario(), curves=curves, seconds=())
    assert charts.curve_chart(scenario, charts.NARROW).startswith("<svg")


def test_seconds_without_samples_leave_a_gap():
    """A second in which nothing ended is no zero."""
    seconds = ({"second": 0, "p50_ms": 1.0}, {"second": 1}, {"second": 2, "p50_ms": 2.0})
    scenario = dataclasses.replace(sample_scenario(), seconds=seconds)
    assert charts.time_chart(scenario, charts.NARROW).startswith("<svg")


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.4, 12, [0.5, 1, 2, 5, 10]),
        (0.009, 110, [0.01, 0.1, 1, 10, 100]),
    ],
)
def test_ticks_are_round(low, high, ticks):
    """1, 2 and 5 of a decade; only the decades of a long range."""
    assert charts.ticks_125(low, high) == pytest.approx(ticks)


def test_a_scenario_without_figures_still_has_a_range():
    """Nothing measured is a chart without lines, no error."""
    empty = dataclasses.replace(sample_scenario(), curves=(), seconds=(), targets=())
    low, high = charts.span_ms(empty)
    assert 0 < low < 1 < high


def test_fonts_of_older_matplotlib_are_the_pages_too():
    """The one-line font declaration keeps size and weight and loses its family."""
    svg = (
        '<svg viewBox="0 0 1 1"><text style="font: bold 12px \'DejaVu Sans\', sans-serif; '
        'fill: #010203">a</text><text style="font: 11px \'DejaVu Sans\'">b</text></svg>'
    )
    adapted = charts.adapt(svg, "x")
    assert "font-size: 12px; font-weight: 600; fill: var(--ink)" in adapted
    assert 'style="font-size: 11px"' in adapted
