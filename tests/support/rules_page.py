"""`docs/rules.md`: each rule, what breaks it, and the test that refuses it."""

from __future__ import annotations

from pathlib import Path

from streamproof.contract.rules import RULES, SECTIONS
from streamproof.targets.mutants import MUTANTS
from support.mutant_kills import KILLS

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "rules.md"
HEAD = """\
# Rules, mutants and tests

Each rule of sections 1 to 7 of the contract is broken on purpose, in one way or several.
A mutant is one wrong implementation, kept in `harness/streamproof/targets/mutants`.
While it is planted the named test must fail.
`tox -e mutants` plants each in a process of its own; one that survives fails the run.
This page is written by `python tests/mutants/run.py --page`.
"""


def page() -> str:
    """The page as it should be."""
    lines = [HEAD]
    for section, title in SECTIONS.items():
        lines += [f"## {section} {title}", "", "| rule | wrong | refused by |", "|---|---|---|"]
        for rule in (rule for rule, its in RULES.items() if its == section):
            for name, mutant in MUTANTS.items():
                if rule in mutant.rules:
                    tests = "<br>".join(f"`{_short(test)}`" for test in KILLS[name])
                    lines.append(f"| {rule} | `{name}`: {mutant.sentence} | {tests} |")
        lines.append("")
    return "\n".join(lines)


def _short(test: str) -> str:
    file, _, name = test.partition("::")
    return f"{Path(file).name}::{name.rpartition('::')[2] or name}"
