"""`streamproof serve`: the reference on a local API Gateway, until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from streamproof.errors import ExitCode, UsageError
from streamproof.terminal import note, say

HELP = "run the reference on a local API Gateway WebSocket endpoint"
EXAMPLES = """\
streamproof serve                                  a free port, state in .streamproof
streamproof serve --port 8765 --state DIR          the same port and state every time
streamproof serve --rate-limit 0 --in-flight-limit 0   without limits, for a load run
streamproof serve --handlers my_handlers.py        with actions of your own
streamproof serve --raw-echo                       echo every message, for an RFC 6455 suite
"""

STATE_DIRECTORY = ".streamproof"
GC_THRESHOLDS = (50_000, 20, 50)  # a full collection at 10,000 connections takes 150 to 300 ms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `serve`."""
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument(
        "--state",
        type=Path,
        default=Path(STATE_DIRECTORY),
        metavar="DIR",
        help=f"keys, store and target.json (default {STATE_DIRECTORY})",
    )
    parser.add_argument(
        "--rate-limit", type=int, default=100, metavar="N", help="messages per minute, 0 is off"
    )
    parser.add_argument(
        "--in-flight-limit",
        type=int,
        default=100,
        metavar="N",
        help="long requests in flight per connection, 0 is off",
    )
    parser.add_argument(
        "--workers", type=int, default=4, metavar="N", help="worker processes at most (default 4)"
    )
    parser.add_argument(
        "--allow-tenant",
        action="append",
        default=[],
        metavar="T",
        help="accept only this tenant; may be given again",
    )
    parser.add_argument(
        "--handlers",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a Python file with handlers of your own; may be given again",
    )
    parser.add_argument("--audience", metavar="A", help="tokens must carry it as aud")
    parser.add_argument(
        "--raw-echo", action="store_true", help="no contract: send every message back"
    )
    parser.add_argument(
        "--verbose", action="store_true", help="functions' logs on standard error too"
    )


def run(args: argparse.Namespace) -> ExitCode:
    """Serve until SIGTERM or Ctrl-C; 0 after an orderly stop, 2 when it could not start."""
    for name, low, high in (
        ("port", 0, 65_535),
        ("rate_limit", 0, 10**9),
        ("in_flight_limit", 0, 10**9),
        ("workers", 1, 64),
    ):
        if not low <= getattr(args, name) <= high:
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(args, name)} is out of range",
                f"give {low} to {high}",
            )
    for path in args.handlers:
        if not path.is_file():
            raise UsageError(f"there is no file {path}", "--handlers takes a Python file")
    if not args.verbose:
        os.environ.setdefault("STREAMER_LOG_LEVEL", "warning")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if args.verbose else logging.WARNING)
    try:
        import uvloop  # noqa: PLC0415 - optional, and not on every system
    except ImportError:
        return asyncio.run(_serve(args))
    return uvloop.run(_serve(args))


async def _serve(args: argparse.Namespace) -> ExitCode:
    from streamproof.targets.embedded import Stack, StackOptions  # noqa: PLC0415 - the extra [serve]
    from streamproof.targets.state import prepare  # noqa: PLC0415

    state = prepare(args.state)
    stack = Stack(
        state,
        StackOptions(
            port=args.port,
            messages_per_minute=args.rate_limit,
            in_flight=args.in_flight_limit,
            workers=args.workers,
            tenants=tuple(args.allow_tenant),
            audience=args.audience,
            handlers=tuple(str(path.resolve()) for path in args.handlers),
            raw_echo=args.raw_echo,
            verbose=args.verbose,
        ),
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        description = dataclasses.replace(await stack.start(), pid=os.getpid())
        state.announce(description)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        say(description.to_json())
        sys.stdout.flush()
        note(f"serving {description.url}, described in {state.target}; Ctrl-C stops")
        await stopping.wait()
        note("stopping")
    finally:
        state.withdraw()
        await stack.stop()
        state.release()
    return ExitCode.HOLDS
