"""`streamproof contract`: the clauses against one target, one line each."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

from streamproof import config
from streamproof.errors import ExitCode
from streamproof.terminal import note, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from streamproof.contract import Progress
    from streamproof.contract.registry import Clause
    from streamproof.results import ClauseResult, ContractResult, Results

HELP = "judge a target clause by clause"
EXAMPLES = """
streamproof contract
streamproof contract AUTH-2 MSG --target file:DIR/target.json
streamproof contract --group connection --target wss://example.test/dev --environment dev
streamproof contract --list
streamproof contract --explain AUTH-3
"""
SEED_MAX = 2**32 - 1
HISTORY_NAME = "history.ndjson"
WIDTH = 96


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "clauses", nargs="*", metavar="CLAUSE", help="AUTH-2, MSG-5 ..; default all"
    )
    config.add_target_arguments(parser)
    parser.add_argument(
        "--tenant",
        action="append",
        default=[],
        metavar="T",
        help="a tenant that clauses may use, where not every one is allowed; may be given again",
    )
    group = parser.add_argument_group("contract")
    group.add_argument("--group", action="append", default=[], metavar="G", help="may be repeated")
    group.add_argument(
        "--platform", action="store_true", help="judge section 6 also where it is only observed"
    )
    group.add_argument("--strict", action="store_true", help="a missed SHOULD fails the run")
    group.add_argument(
        "--require-all", action="store_true", help="exit 3 when a clause is not applicable"
    )
    group.add_argument("--seed", type=int, metavar="N", help="of what is drawn (default 1)")
    group.add_argument("--list", action="store_true", help="print the clauses and run none")
    group.add_argument(
        "--markdown", action="store_true", help="print the contract as a page, run none"
    )
    group.add_argument("--explain", metavar="CLAUSE", help="print all about a clause, run none")
    group.add_argument("--out", type=Path, metavar="DIR", help="default: reports/RUN")
    group.add_argument("--json", action="store_true", help="print results.json instead of words")


def run(args: argparse.Namespace) -> ExitCode:
    """List, explain, print or run the clauses; a run writes its folder."""
    from streamproof.contract.registry import select  # noqa: PLC0415 - keeps --help fast

    if args.explain is not None:
        for clause in select([args.explain]):
            say(explanation(clause))
        return ExitCode.HOLDS
    if args.markdown:
        from streamproof.contract.document import markdown  # noqa: PLC0415 - keeps --help fast

        say(markdown().rstrip("\n"))
        return ExitCode.HOLDS
    chosen = select(args.clauses, args.group)
    if args.list:
        for clause in chosen:
            say(f"{clause.id:<16} {clause.level:<8} {clause.group:<11} {_short(clause.sentence)}")
        return ExitCode.HOLDS
    results, folder = _judge(args)
    _tell(args, results, folder)
    return _code(args, results)


def _judge(args: argparse.Namespace) -> tuple[Results, Path]:
    from streamproof import runs, targets  # noqa: PLC0415 - keeps --help fast
    from streamproof.contract import ContractOptions, run_contract  # noqa: PLC0415 - likewise
    from streamproof.report import progress, render  # noqa: PLC0415 - likewise
    from streamproof.results import Results  # noqa: PLC0415 - likewise

    settings = config.from_arguments(args, load__seed=args.seed)
    options = dataclasses.replace(
        config.target_options(settings, args.accept_load_on), tenants=tuple(args.tenant)
    )
    target = targets.resolve(settings["target"], options)
    started = datetime.datetime.now(datetime.UTC)
    begun_s = time.monotonic()
    run_id = runs.run_id(started, "contract")
    folder = runs.folder_for(run_id, args.out)
    asked = ContractOptions(
        clauses=tuple(args.clauses),
        groups=tuple(args.group),
        platform=args.platform,
        strict=args.strict,
        seed=settings["load.seed"],
        require_all=args.require_all,
        history=folder / HISTORY_NAME,
    )
    try:
        with progress.shown("contract") as show, target:
            found = run_contract(target, asked, _shower(show))
            summary = target.summary()
    except BaseException:
        _tidy(folder)
        raise
    words = ["contract", *args.clauses, *config.given_words(args), "--seed", str(asked.seed)]
    info = runs.run_info(run_id, words, started, time.monotonic() - begun_s, summary)
    results = Results(run=info, contract=found)
    results.write(folder / render.RESULTS_NAME)
    render.write(results, folder)
    if args.out is None:
        runs.point_latest(folder)
    return results, folder


def _tidy(folder: Path) -> None:
    """Remove what a run without a verdict left, and the folder when nothing else is in it."""
    with contextlib.suppress(OSError):
        (folder / HISTORY_NAME).unlink(missing_ok=True)
        folder.rmdir()


def _shower(show: Callable[[str], None]) -> Callable[[Progress], None]:
    """Shows each step as a line: the announcement, then every clause that has ended."""

    def tell(step: Progress) -> None:
        if step.result is None:
            show(step.line)
        else:
            show(f"{step.done}/{step.total} {step.result.id}: {step.result.verdict}")

    return tell


def _code(args: argparse.Namespace, results: Results) -> ExitCode:
    from streamproof.results import Verdict  # noqa: PLC0415 - keeps --help fast

    codes = [results.exit_code]
    contract = results.contract
    if args.require_all and contract is not None and contract.count(Verdict.NOT_APPLICABLE):
        codes.append(ExitCode.NO_VERDICT)
    return ExitCode.worst(codes)


def _tell(args: argparse.Namespace, results: Results, folder: Path) -> None:
    from streamproof.report import render, words  # noqa: PLC0415 - keeps --help fast

    if args.json:
        say(results.to_json())
        return
    if results.contract is not None:
        for line in _lines(results.contract):
            say(line)
    say(words.closing(results))
    say(str(folder / render.HTML_NAME))
    if args.require_all and _code(args, results) is ExitCode.NO_VERDICT:
        note("streamproof: a clause was not applicable, and --require-all was given")


def _lines(contract: ContractResult) -> list[str]:
    """One line per clause under its section's title; what failed says what it saw."""
    from streamproof.contract.rules import SECTIONS  # noqa: PLC0415 - keeps --help fast

    lines: list[str] = []
    section = 0
    for clause in contract.clauses:
        if clause.section != section:
            section = clause.section
            lines.append(f"{section} {SECTIONS[section]}")
        lines.append(f"  {clause.verdict:<14} {clause.id:<16} {_short(clause.sentence)}")
        lines += [f"      {line}" for line in _details(clause)]
    for violation in contract.history_violations[:20]:
        lines.append(f"  history: {violation}")
    return lines


def _details(clause: ClauseResult) -> list[str]:
    found = [("expected", clause.expected), ("saw", clause.seen), ("because", clause.reason)]
    return [f"{name}: {' '.join(text.split())[:400]}" for name, text in found if text]


def _short(sentence: str) -> str:
    return textwrap.shorten(sentence, 62, placeholder=" ..")


def explanation(clause: Clause) -> str:
    """All that is known about a clause, as text for people."""
    needs = ", ".join(sorted(clause.needs))
    facts: Sequence[tuple[str, str]] = (
        ("promise", clause.sentence),
        ("why", clause.why),
        ("how it is tried", (clause.check.__doc__ or "").strip()),
        ("origin", clause.origin),
        ("level, group", f"{clause.level}, {clause.group}"),
        ("needs", needs),
        ("since", f"contract version {clause.since}"),
        ("run it", f"streamproof contract {clause.id}"),
    )
    body = "\n".join(
        textwrap.fill(f"{name:<16} {text}", WIDTH, initial_indent="  ", subsequent_indent=" " * 19)
        for name, text in facts
    )
    return f"{clause.id}\n{body}"
