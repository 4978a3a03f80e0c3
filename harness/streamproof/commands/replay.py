"""`streamproof replay SEED`: one world of the simulation again, event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamproof.errors import ExitCode, UsageError
from streamproof.terminal import say

if TYPE_CHECKING:
    import argparse

HELP = "play one seed of the simulation again: its history, verdict and witness"
EXAMPLES = """
streamproof replay 4711
streamproof replay 4711 --store
streamproof replay 4711 --json
streamproof replay 12 --mutant reused-id-overwrites
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The seed, and what is planted."""
    parser.add_argument("seed", metavar="SEED", type=_seed, help="a whole number, 0 or more")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("--store", action="store_true", help="show each call to the store too")
    parser.add_argument(
        "--mutant",
        metavar="NAME",
        help="with a wrong implementation planted; docs/rules.md lists the names",
    )


def run(args: argparse.Namespace) -> ExitCode:
    """0 when the world holds, 1 when it breaks a rule."""
    from streamproof.simulation import telling  # noqa: PLC0415 - keeps --help fast
    from streamproof.targets.simulated import play  # noqa: PLC0415 - keeps --help fast

    played = play(args.seed, mutant=args.mutant, verbose=args.store)
    if args.json:
        say(telling.dumped(telling.as_json(played, args.mutant)))
    else:
        say("\n".join(telling.lines(played, args.mutant)))
    return ExitCode.HOLDS if played.holds else ExitCode.BROKEN


def _seed(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"{text!r} is no seed", "a seed is a whole number, 0 or more")
    return int(text)
