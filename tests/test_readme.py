"""The README's first screen is the true output of its command: held to the committed sample."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from streamproof.contract.registry import SECTIONS
from streamproof.report import words
from streamproof.results import Results, Verdict

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "reports" / "sample"


@pytest.fixture(scope="module")
def readme() -> str:
    """The README, its line breaks as spaces, so that a long line may be wrapped."""
    return " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


@pytest.fixture(scope="module")
def sample() -> Results:
    """The results behind the committed report."""
    return Results.read(SAMPLE / "results.json")


def test_the_closing_sentence_is_the_samples(readme: str, sample: Results) -> None:
    """What the command prints, word for word; and it was a run in which everything held."""
    assert words.closing(sample) in readme
    assert sample.exit_code == 0
    assert sample.run.command.startswith("streamproof verify")


def test_the_table_counts_what_the_sample_counted(readme: str, sample: Results) -> None:
    """One row a section, one for each target of the load."""
    assert sample.contract is not None
    assert sample.load is not None
    held = Counter(c.section for c in sample.contract.clauses if c.verdict is Verdict.PASS)
    for section, count in held.items():
        assert f"| {section} {SECTIONS[section]} | {count} clauses hold |" in readme
    for scenario in sample.load.scenarios:
        for target in scenario.targets:
            row = f"p99 {target.measured:.3g} {target.unit}, limit {target.limit:g} {target.unit}"
            assert row in readme


def test_every_file_and_picture_that_it_names_is_there() -> None:
    """No dead link within the repository."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#]+)\)", text)
    assert linked
    for name in linked:
        assert (ROOT / name).exists(), name


def test_the_sample_loads_nothing_from_elsewhere() -> None:
    """It opens from disk, without a network."""
    page = (SAMPLE / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)\s*=\s*["\']?\s*(?:https?:)?//', page)
