"""From results to one self-contained HTML file, and to the files of a run's folder."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from streamproof.report import junit, view, words
from streamproof.results import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Environment
    from markupsafe import Markup

    from streamproof.results import Results, ScenarioResult

RESULTS_NAME = "results.json"
HTML_NAME = "report.html"
JUNIT_NAME = "junit.xml"


@functools.cache
def _environment() -> Environment:
    """Templates of the package; every value is escaped, an unknown name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - slow to import

    environment = Environment(
        loader=PackageLoader("streamproof.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "duration": words.duration,
        "tone": view.tone,
        "target_name": words.target_name,
        "prose": _prose,
    }
    return environment


def _prose(text: str) -> Markup:
    """Escaped text whose `backticks` become code."""
    from markupsafe import Markup, escape  # noqa: PLC0415 - comes with jinja2, slow to import

    # Escaping leaves backticks alone, so every odd piece stood between two of them.
    pieces = str(escape(text)).split("`")
    if len(pieces) % 2 == 0:
        return Markup("`".join(pieces))  # noqa: S704 - escaped above
    coded = (f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))
    return Markup("".join(coded))  # noqa: S704 - escaped above


def _charts(scenario: ScenarioResult) -> dict[str, list[tuple[str, Markup]]]:
    """A scenario's charts in each size; none, and no matplotlib, where there are no points."""
    from markupsafe import Markup  # noqa: PLC0415 - comes with jinja2, which is slow to import

    from streamproof.report import charts  # noqa: PLC0415 - needs the extra `load` to draw

    drawn: dict[str, list[tuple[str, Markup]]] = {"curve": [], "time": []}
    for size in charts.SIZES:
        if any(curve.points for curve in scenario.curves):
            drawn["curve"].append((size.name, Markup(charts.curve_chart(scenario, size))))  # noqa: S704 - our own drawing
        if scenario.seconds:
            drawn["time"].append((size.name, Markup(charts.time_chart(scenario, size))))  # noqa: S704 - our own drawing
    return drawn


def to_html(results: Results) -> str:
    """The whole page as text: no script, no link to anywhere, nothing to load."""
    from streamproof.report import charts  # noqa: PLC0415 - only names here, draws nothing

    scenarios = results.load.scenarios if results.load is not None else ()
    template = _environment().get_template("report.html.j2")
    return template.render(
        results=results,
        run=results.run,
        contract=results.contract,
        scenarios=scenarios,
        headline=words.headline(results),
        headline_tone=view.tone_of_code(results.exit_code),
        exit_code=int(results.exit_code),
        not_shown=words.not_shown(results),
        clause_counts=words.clause_counts(results.contract) if results.contract else "",
        sections=view.sections(results.contract) if results.contract else [],
        troubled=view.troubled(results.contract) if results.contract else [],
        charts={scenario.name: _charts(scenario) for scenario in scenarios},
        curve_labels=charts.LABELS,
        series_labels=charts.SERIES_LABELS,
        facts=view.facts(results),
        view=view,
        Verdict=Verdict,
    )


def write(results: Results, folder: Path) -> Path:
    """Write `report.html` and `junit.xml` into a run's folder; answers the page's path.

    Each file appears in one step. Raises OSError when the folder cannot be written.
    """
    texts = {HTML_NAME: to_html(results), JUNIT_NAME: junit.to_junit(results)}
    for name, text in texts.items():
        partial = folder / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / name)
    return folder / HTML_NAME
