"""`streamproof load`: the scenarios under Locust, headless, judged against their targets."""

from __future__ import annotations

import contextlib
import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from streamproof import config
from streamproof.errors import ExitCode
from streamproof.terminal import say

if TYPE_CHECKING:
    import argparse

HELP = "measure a target under load and judge its latencies"
EXAMPLES = """
streamproof load
streamproof load request --size smoke
streamproof load request --connections 500 --rate 1000 --seconds 30
streamproof load --target wss://example.test/dev --environment dev --jwt-key dev.pem --rate 20
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all of them")
    config.add_target_arguments(parser)
    group = parser.add_argument_group("load")
    group.add_argument("--size", choices=("smoke", "full"), help="how long (default full)")
    group.add_argument("--seed", type=int, metavar="N", help="of the arrivals (default 1)")
    group.add_argument("--connections", "-u", type=int, metavar="N", help="instead of its own")
    group.add_argument("--connects", "-r", type=float, metavar="N", help="connects per second")
    group.add_argument("--seconds", "-t", type=int, metavar="S", help="length of the measurement")
    group.add_argument("--rate", type=float, metavar="N", help="operations per second")
    group.add_argument(
        "--looks", type=int, choices=(1, 2, 3), help="measure so often at most (default 3)"
    )
    group.add_argument("--out", type=Path, metavar="DIR", help="default: reports/RUN")


def run(args: argparse.Namespace) -> ExitCode:
    """Run the scenarios, write the report, say the verdicts."""
    from streamproof import runs, targets  # noqa: PLC0415 - keeps --help fast
    from streamproof.load import caps, paths, program, words  # noqa: PLC0415 - keeps --help fast
    from streamproof.report import progress, render  # noqa: PLC0415 - keeps --help fast

    program.require_locust()
    settings = config.from_arguments(args, load__size=args.size, load__seed=args.seed)
    caps.refuse_production(settings["safety.environment"])
    targets.resolve(settings["target"], config.target_options(settings, args.accept_load_on))
    files = paths.files(args.scenarios, paths.scenarios())
    folder = runs.folder_for(runs.run_id(datetime.datetime.now(datetime.UTC), "load"), args.out)
    options = program.Words(
        target=settings["target"],
        token_command=settings["auth.token_command"],
        jwt_key=settings["auth.jwt_key"],
        issuer=settings["auth.issuer"],
        audience=settings["auth.audience"],
        environment=settings["safety.environment"],
        settings=str(args.config) if args.config else None,
        size=settings["load.size"],
        seed=settings["load.seed"],
        rate=args.rate,
        users=args.connections,
        spawn_rate=args.connects,
        run_time=f"{args.seconds}s" if args.seconds else None,
        looks=args.looks,
    )
    argv = program.command(files, options, folder)
    try:
        with progress.shown("load") as show:
            code, results = program.run(argv, folder, show, settings["auth.token"])
    except BaseException:
        _tidy(folder)
        raise
    if results is None:
        _tidy(folder)
        return code
    if results.load is not None:
        page = render.write(results, folder)
        for line in words.closing_lines(results.load):
            say(line)
        say(str(page))
    if args.out is None:
        runs.point_latest(folder)
    return code


def _tidy(folder: Path) -> None:
    """Remove what a run without results left, and the folder when nothing else is in it."""
    from streamproof.load import program  # noqa: PLC0415 - keeps --help fast

    with contextlib.suppress(OSError):
        (folder / f"{program.TABLES_NAME}.json").unlink(missing_ok=True)
        folder.rmdir()
