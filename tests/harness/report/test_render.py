"""The page: everything in it, nothing from elsewhere."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from streamproof.report import render
from streamproof.results import Results, Verdict, WireLine
from support.sample_results import sample_contract, sample_load, sample_results, sample_run

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """Reads a page strictly enough: tags close, names are unique, links are collected."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.links: list[str] = []
        self.tags: list[str] = []
        self.opened_details: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.names += [found["id"]] if found.get("id") else []
        self.links += [found[name] for name in ("src", "href", "action") if found.get(name)]
        if tag == "details" and "open" in found:
            self.opened_details.append(found.get("id") or found.get("class") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def page_of(results: Results) -> Page:
    """The page of these results, read."""
    return Page(render.to_html(results))


@pytest.mark.parametrize(
    "results",
    [sample_results(), sample_results(red=True), sample_results(invalid=True)],
    ids=["green", "red", "invalid"],
)
def test_the_page_stands_alone(results):
    """Every tag closes, names are unique, and no link leads out of the page."""
    page = page_of(results)
    assert page.open == []
    assert len(page.names) == len(set(page.names))
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.names)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)


def test_the_style_loads_nothing():
    """No font, image or sheet comes from anywhere."""
    html = render.to_html(sample_results())
    assert not re.search(r"(src|href)=[\"']?https?:", html)
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_the_verdict_comes_first_and_what_is_not_shown_second():
    """A reader learns the verdict, then what it does not cover, then the rest."""
    text = page_of(sample_results()).text
    order = [
        "The target embedded keeps version 1 of the contract and meets its performance target.",
        "What this run does not show",
        "group ops: needs the capability inside",
        "Under load: request",
        "The contract, clause by clause",
        "How it was made",
        "streamproof verify --target embedded --size full --seed 1",
    ]
    places = [text.rindex(words) if i == 0 else text.index(words) for i, words in enumerate(order)]
    assert places == sorted(places)


def test_target_against_limit_with_interval_effective_number_and_margin():
    """The figures that decide stand in one row."""
    text = re.sub(r"\s+", " ", page_of(sample_results()).text)
    assert "request p99 4.21 ms 3.60 to 5.15 10 ms 58 % below 2,140 pass p(99) < 10" in text


def test_every_clause_is_there_with_its_verdict():
    """No clause is left out, whatever its ending."""
    results = sample_results(red=True)
    page = page_of(results)
    assert results.contract is not None
    assert {clause.id for clause in results.contract.clauses} <= set(page.names)
    for verdict in Verdict:
        assert verdict.value in page.text


def test_what_needs_a_look_is_open_and_on_top():
    """Clauses that did not hold are linked from the top and stand open, with their wire log."""
    page = page_of(sample_results(red=True))
    assert set(page.opened_details) == {"PROG-1", "AUTH-8", "RECOV-1", "CONN-4", "log"}
    assert {"#PROG-1", "#AUTH-8", "#RECOV-1", "#CONN-4"} <= set(page.links)
    assert page.text.index("What needs a look") < page.text.index("Under load")


def test_a_green_page_has_nothing_to_look_at():
    """Without trouble there is no such section and nothing stands open."""
    page = page_of(sample_results())
    assert "What needs a look" not in page.text
    assert page.opened_details == []


def test_wire_text_is_shown_and_not_run():
    """What a target sent is text, whatever it holds."""
    contract = sample_contract()
    hostile = "<script>alert(1)</script>`<b>`"
    clause = dataclasses.replace(
        contract.clauses[0],
        seen=hostile,
        sentence="an odd ` and <i>",
        verdict=Verdict.FAIL,
        log=(WireLine(0.0, "a", "<", hostile),),
    )
    page = page_of(Results(sample_run(), contract=dataclasses.replace(contract, clauses=(clause,))))
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert "i" not in page.tags
    assert page.text.count("<script>alert(1)</script>") == 3


def test_backticks_become_code():
    """Names in a clause's sentence are set as code."""
    assert "Requires <code>exp</code>, <code>sub</code>" in render.to_html(sample_results())


@pytest.mark.parametrize(("verdict", "shown"), [(Verdict.PASS, 40), (Verdict.FAIL, 200)])
def test_a_long_log_is_cut_and_says_so(verdict, shown):
    """A log beyond the bound shows its beginning and counts the rest; a failure shows more."""
    contract = sample_contract()
    lines = tuple(WireLine(float(i), "a", ">", f"m{i}") for i in range(250))
    clause = dataclasses.replace(contract.clauses[0], log=lines, verdict=verdict)
    page = page_of(Results(sample_run(), contract=dataclasses.replace(contract, clauses=(clause,))))
    assert "Wire log, 250 messages" in page.text
    assert f"{250 - shown} more lines are in results.json." in page.text
    assert f"m{shown - 1}" in page.text
    assert f"m{shown}" not in page.text


def test_violations_are_bounded():
    """A flood of violations shows the first and counts the rest."""
    contract = dataclasses.replace(
        sample_contract(), history_violations=tuple(f"violation {i}" for i in range(60))
    )
    page = page_of(Results(sample_run(), contract=contract))
    assert "violation 49" in page.text
    assert "violation 50" not in page.text
    assert "10 more are in results.json." in page.text


def test_a_load_alone_and_a_run_of_nothing_have_a_page():
    """Whatever was run, there is a page that says what was not."""
    assert (
        "The contract: no clause was run."
        in page_of(Results(sample_run(), load=sample_load())).text
    )
    assert "was not judged" in page_of(Results(sample_run())).text


def test_a_scenario_without_points_has_no_figure():
    """No samples, no chart, no self-check; the page still stands."""
    load = sample_load()
    scenario = dataclasses.replace(load.scenarios[0], curves=(), seconds=(), self_check={})
    page = page_of(Results(sample_run(), load=dataclasses.replace(load, scenarios=(scenario,))))
    assert "figure" not in page.tags
    assert "Whether the generator kept up" not in page.text


def test_a_contract_report_needs_no_matplotlib():
    """The base install renders contract runs: matplotlib is imported for charts alone."""
    here = Path(__file__).resolve().parents[2]
    script = (
        f"import sys; sys.path.insert(0, {str(here)!r})\n"
        "sys.modules['matplotlib'] = None\n"
        "from streamproof.report import render\n"
        "from streamproof.results import Results\n"
        "from support.sample_results import sample_contract, sample_run\n"
        "print(len(render.to_html(Results(sample_run(), contract=sample_contract()))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000


def test_files_appear_whole(tmp_path):
    """The page and the XML are written in one step each, and nothing else stays."""
    page = render.write(sample_results(), tmp_path)
    assert page == tmp_path / "report.html"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["junit.xml", "report.html"]
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")
