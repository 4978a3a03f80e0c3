"""`python -m streamproof.simulation`: many seeds of the whole system, or its mutants."""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence

from streamproof.cli import Parser
from streamproof.errors import ExitCode, StreamproofError, UsageError
from streamproof.simulation import campaign, telling
from streamproof.targets import simulated
from streamproof.terminal import note, say

EXAMPLES = """examples:
  python -m streamproof.simulation
  python -m streamproof.simulation --seeds 100000 --jobs 2
  python -m streamproof.simulation --seeds 500 --first 4000 --json
  python -m streamproof.simulation --mutants --jobs 2
  python -m streamproof.simulation --mutants --only reused-id-overwrites

exit: 0 holds, 1 a rule is broken or a mutant was not found, 2 usage,
      3 something that should occur did not (1,000 seeds or more), 130 interrupted
"""
SHOWN_MAX = 10
PROGRESS_S = 2.0
BOUNDS = (
    ("seeds", 1, 1_000_000_000),
    ("first", 0, 1_000_000_000_000),
    ("jobs", 1, 64),
    ("starts", 1, 10_000),
    ("most", 1, simulated.START_DISTANCE),  # the next start's seeds begin there
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; the exit code."""
    parser = Parser(
        prog="python -m streamproof.simulation",
        description="Play the whole system on virtual time, one world per seed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--seeds", type=int, default=2_000, help="how many (default 2000)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--mutants", action="store_true", help="seeds until each mutant is found")
    parser.add_argument("--only", metavar="NAME", action="append", help="this mutant")
    parser.add_argument("--starts", type=int, default=21, help="starting seeds of a mutant")
    parser.add_argument("--most", type=int, default=1_000, help="seeds per start, then given up")
    try:
        options = _checked(parser.parse_args(arguments))
        return int(_mutants(options) if options.mutants else _seeds(options))
    except StreamproofError as error:
        note(f"{parser.prog}: {error.message.removeprefix(f'{parser.prog}: ')}")
        if error.hint:
            note(f"  {error.hint}")
        return int(error.exit_code)
    except KeyboardInterrupt:
        note(f"{parser.prog}: interrupted")
        return int(ExitCode.INTERRUPTED)


def _seeds(options: argparse.Namespace) -> ExitCode:
    seeds = range(options.first, options.first + options.seeds)
    began_s = told_s = time.monotonic()
    total = campaign.NOTHING
    for part in campaign.run(simulated.play_some, seeds, options.jobs):
        total += part
        if time.monotonic() - told_s >= PROGRESS_S:
            told_s = time.monotonic()
            note(f"{total.seeds:,} of {len(seeds):,} seeds, {len(total.broken)} broken")
    seconds = time.monotonic() - began_s
    never = campaign.missing(total)
    matters = len(seeds) >= campaign.SEEDS_FOR_ALL
    if options.json:
        summary = {
            "seeds": total.seeds,
            "first": options.first,
            "broken": [dataclasses.asdict(broken) for broken in total.broken],
            "never": never,
            "classes": dict(sorted(total.classes.items())),
        }
        say(telling.dumped(summary))
    else:
        for name, count in sorted(total.classes.items()):
            say(f"{count:>10,}  {name}")
        for broken in total.broken[:SHOWN_MAX]:
            say(f"seed {broken.seed}: {broken.what}")
            say(f"  {telling.command(broken.seed, None)}")
        for name in never if matters else ():
            say(f"never occurred: {name}")
        say(f"{total.seeds:,} seeds, {len(total.broken)} broken, {seconds:.1f} s")
    if total.broken:
        return ExitCode.BROKEN
    return ExitCode.NO_VERDICT if never and matters else ExitCode.HOLDS


def _mutants(options: argparse.Namespace) -> ExitCode:
    names = options.only or simulated.mutants()
    found_all, rows = True, []
    asked = ((name, options.starts, options.most) for name in names)
    for name, needed in campaign.each(simulated.seeds_to_detection, list(asked), options.jobs):
        found = [count for count in needed if count is not None]
        median = statistics.median([count or float("inf") for count in needed])
        found_all = found_all and len(found) == len(needed)
        rows.append({"mutant": name, "needed": needed})
        if not options.json:
            shown = f"{median:g}" if median < float("inf") else f"over {options.most}"
            most = f"{max(found)} at most" if found else "never found"
            say(f"{shown:>10}  {name}: {len(found)} of {len(needed)} starts, {most}")
            first = next((simulated.seed_of(i, n) for i, n in enumerate(needed) if n), None)
            if first is not None:
                say(f"            {telling.command(first, name)}")
    if options.json:
        say(telling.dumped({"most": options.most, "mutants": rows}))
    return ExitCode.HOLDS if found_all else ExitCode.BROKEN


def _checked(options: argparse.Namespace) -> argparse.Namespace:
    """The options, when each is within its bounds; `UsageError` names the one that is not."""
    for name, low, high in BOUNDS:
        if not low <= getattr(options, name) <= high:
            raise UsageError(
                f"--{name} {getattr(options, name)} is out of range", f"give {low} to {high}"
            )
    if options.only and not options.mutants:
        raise UsageError("--only names a mutant", "add --mutants")
    for name in options.only or ():
        simulated.check_mutant(name)
    return options


if __name__ == "__main__":
    sys.exit(main())
