"""A performance target as a line of text, and the one parser of it.

    request.latency_ms = "p(99) < 10"

The key names the scenario and the figure, whose last word is the unit; the text names the
statistic, the comparison and the limit, as k6 writes them.
"""

from __future__ import annotations

import dataclasses
import re

from streamproof.errors import UsageError

FIGURES = ("latency_ms",)
_KEY = re.compile(r"(?P<scenario>[a-z][a-z0-9_]*)\.(?P<figure>[a-z0-9_]+)")
_TEXT = re.compile(
    r"\s*p\((?P<percent>\d{1,2}(?:\.\d{1,3})?)\)\s*<=?\s*(?P<limit>\d+(?:\.\d+)?)\s*"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Threshold:
    """One target: the quantile `share` (0 to 1) of `figure` in `scenario` is below `limit`."""

    scenario: str
    figure: str
    share: float
    limit: float
    text: str

    @property
    def name(self) -> str:
        """What stands left of the equals sign."""
        return f"{self.scenario}.{self.figure}"

    @property
    def line(self) -> str:
        """The line of configuration that says this."""
        return f'{self.name} = "{self.text}"'

    @property
    def unit(self) -> str:
        """The unit of the limit."""
        return self.figure.rpartition("_")[2]

    @property
    def limit_ms(self) -> float:
        """The limit in milliseconds, the only unit so far."""
        return self.limit

    @property
    def statistic(self) -> str:
        """The quantile as people say it: `p99`, `p99.9`."""
        return f"p{self.share * 100:g}"


def parse(key: str, text: str) -> Threshold:
    """The threshold that `key = "text"` says; `UsageError` for anything else."""
    line = f'{key} = "{text}"'
    named = _KEY.fullmatch(key)
    if named is None:
        raise UsageError(f"{line}: a target is named scenario.figure", "as in request.latency_ms")
    if named["figure"] not in FIGURES:
        raise UsageError(
            f"{line}: there is no figure {named['figure']}", f"figures: {', '.join(FIGURES)}"
        )
    said = _TEXT.fullmatch(text)
    if said is None:
        raise UsageError(f"{line}: not a target", 'a target reads like "p(99) < 10"')
    share = float(said["percent"]) / 100
    if not 0 < share < 1:
        raise UsageError(f"{line}: p({said['percent']}) is no quantile", "use p(50) to p(99.999)")
    limit = float(said["limit"])
    if limit <= 0:
        raise UsageError(f"{line}: nothing takes less than {limit:g}", "name a limit above 0")
    return Threshold(named["scenario"], named["figure"], share, limit, text.strip())
