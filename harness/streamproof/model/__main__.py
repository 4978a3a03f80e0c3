"""`python -m streamproof.model --table MODULE:NAME`: explore the protocol, then each mutant."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from streamproof.errors import ExitCode
from streamproof.model.configurations import CONFIGURATIONS, MUTANTS, QUICK
from streamproof.model.explore import Finding, explore
from streamproof.model.graph import Graph
from streamproof.model.pairs import count
from streamproof.model.protocol import Protocol
from streamproof.model.state import Options
from streamproof.model.store import Table

Write = Callable[[str], object]


def main(arguments: Sequence[str] | None = None, write: Write = sys.stdout.write) -> ExitCode:
    """Explore what is asked for; `HOLDS` when only the mutants break the invariants."""
    parser = argparse.ArgumentParser(prog="python -m streamproof.model", description=__doc__)
    parser.add_argument(
        "--table", required=True, help="MODULE:NAME of a mapping {status: {event: status}}"
    )
    parser.add_argument("--quick", action="store_true", help="smaller models, in seconds")
    parser.add_argument("--mutants", action="store_true", help="only the mutants, with traces")
    options = parser.parse_args(arguments)
    try:
        table = load(options.table)
    except (ImportError, AttributeError, ValueError) as error:
        write(f"The table {options.table} cannot be loaded: {error}\n")
        return ExitCode.USAGE
    holds = True
    if not options.mutants:
        holds = judge(table, QUICK if options.quick else CONFIGURATIONS, write)
    return (
        ExitCode.HOLDS
        if judge_mutants(table, write, traces=options.mutants) and holds
        else ExitCode.BROKEN
    )


def load(name: str) -> Table:
    """The mapping that a name like `package.module:NAME` means."""
    module, _, attribute = name.partition(":")
    table = getattr(importlib.import_module(module), attribute)
    if not isinstance(table, Mapping):
        raise ValueError("it is no mapping")
    return table


def judge(table: Table, configurations: Mapping[str, Options], write: Write) -> bool:
    """Explore each configuration; False when one breaks an invariant."""
    holds, began_s, total = True, time.perf_counter(), 0
    for name, options in configurations.items():
        graph = Graph(Protocol(table, options))
        explored = explore(graph)
        if explored.finding is not None:
            holds = False
            write(f"{name}: {faults(options)}\n{described(explored.finding)}")
            continue
        pairs = count(graph)
        total += pairs
        write(
            f"{name}: {faults(options)}\n"
            f"    one request {explored.states:,} states, two requests {pairs:,}: 0 violations\n"
        )
    seconds = time.perf_counter() - began_s
    write(f"{total:,} states of two requests in {seconds:.1f} s\n")
    return holds


def judge_mutants(table: Table, write: Write, *, traces: bool) -> bool:
    """Explore each mutant; False when one is not found."""
    found = 0
    for mutant, options in MUTANTS.items():
        finding = explore(Graph(Protocol(table, options, frozenset({mutant})))).finding
        if finding is None:
            write(f"NOT FOUND: {mutant}\n")
            continue
        found += 1
        if traces:
            write(f"{mutant}\n{described(finding)}")
        else:
            write(f"{len(finding.trace):2} steps: {mutant}\n")
    write(f"{found} of {len(MUTANTS)} mutants found\n")
    return found == len(MUTANTS)


def faults(options: Options) -> str:
    """What may happen in a model, for a reader."""
    parts = [f"{kind} {n}" for kind, n in options.budget._asdict().items() if n]
    if options.failures_max:
        parts.append("a handler that fails once")
    if options.cancels:
        parts.append("a cancel of each request")
    if options.prompt:
        parts.append("nothing is slow")
    return ", ".join(parts)


def described(finding: Finding) -> str:
    """A finding as lines: the invariant, then each step of the shortest way to it."""
    steps = "".join(f"    {n:2}. {line}\n" for n, line in enumerate(finding.trace, 1))
    return f"  broken: {finding.broken}\n{steps}"


if __name__ == "__main__":
    sys.exit(main())
