"""The contract's page is what its rules and clauses say today."""

from __future__ import annotations

import re
from pathlib import Path

from streamproof.cli import main
from streamproof.contract.document import COMMAND, markdown
from streamproof.contract.registry import all_clauses
from streamproof.contract.rules import RULES, WITHOUT_CLAUSE
from streamproof.dialect.codes import CODES
from streamproof.errors import ExitCode
from streamproof.results import Level, Verdict

PAGE = Path(__file__).parents[3] / "docs" / "contract.md"


def test_the_page_is_current(capsys) -> None:
    """The file is what the command prints that it names."""
    assert main(["contract", "--markdown"]) == 0
    assert capsys.readouterr().out == PAGE.read_text(encoding="utf-8"), COMMAND


def test_the_page_holds_every_rule_and_clause() -> None:
    """A heading for each rule in order, and each clause's promise, reason and origin."""
    page = markdown()
    assert re.findall(r"^### (\S+)$", page, re.MULTILINE) == list(RULES)
    for item in all_clauses():
        assert item.sentence in page, item.id
        assert f"- why: {item.why}\n- origin: {item.origin}\n" in page, item.id
    assert page.count("No clause yet.") == len(WITHOUT_CLAUSE)


def test_the_page_explains_every_level_outcome_and_code() -> None:
    """Each has its row."""
    page = markdown()
    for word in (*CODES, *Level, *Verdict, *(int(code) for code in ExitCode)):
        assert f"| {word} |" in page, word
