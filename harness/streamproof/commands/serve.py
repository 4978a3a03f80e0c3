"""`streamproof serve`: a system on a local API Gateway, until it is told to stop.

The functions that the file of settings describes are hosted; without any, the reference is.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import datetime
import gc
import importlib.util
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urljoin

from streamproof import config
from streamproof.errors import ExitCode, UsageError
from streamproof.terminal import note, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamproof.targets.base import Description
    from streamproof.targets.state import State

HELP = "run your functions, or the reference, on a local API Gateway WebSocket endpoint"
EXAMPLES = """\
streamproof serve                                  a free port, state in .streamproof
streamproof serve --functions system.toml          the functions that this file describes
streamproof serve --port 8765 --state DIR          the same port and state every time
streamproof serve --rate-limit 0 --in-flight-limit 0   without limits, for a load run
streamproof serve --handlers my_handlers.py        with actions of your own
streamproof serve --raw-echo                       echo every message, for an RFC 6455 suite
"""

STATE_DIRECTORY = ".streamproof"
NAMES_SHOWN_MAX = 8  # of functions, in the line that says what is served
# What the reference alone knows, with the value that says that nothing was asked for.
_OF_THE_REFERENCE = {
    "rate_limit": 100,
    "in_flight_limit": 100,
    "workers": 4,
    "allow_tenant": [],
    "handlers": [],
    "audience": None,
    "raw_echo": False,
    "trace": None,
}
STOP_S = 9.8  # an orderly stop has 10 s: then it ends, whatever takes no notice
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
        "--trace",
        type=Path,
        metavar="FILE",
        help="append the spans of each request to FILE, one JSON object per line",
    )
    parser.add_argument(
        "--raw-echo", action="store_true", help="no contract: send every message back"
    )
    system = parser.add_mutually_exclusive_group()
    system.add_argument(
        "--functions",
        type=Path,
        metavar="FILE",
        help="what is hosted: a .toml, or a .py with describe(credentials); docs/hosting.md "
        f"(default: the functions in {config.FILE_NAME}, else the reference)",
    )
    system.add_argument(
        "--reference", action="store_true", help="the reference, without reading any file"
    )
    for name, does in (
        ("tls", "speak wss and https with a development certificate"),
        ("freeze", "stop functions' processes between their events, as on Lambda"),
        ("verbose", "show what functions print on standard error"),
    ):
        parser.add_argument(
            f"--{name}",
            action=argparse.BooleanOptionalAction,
            dest=f"serve.{name}",
            help=f"{does} (default: for functions of a file, not for the reference)",
        )


def run(args: argparse.Namespace) -> ExitCode:
    """Serve until SIGTERM or Ctrl-C; 0 after an orderly stop, 3 after one by force.

    2 when it could not start.
    """
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
    if args.trace is not None and importlib.util.find_spec("opentelemetry") is None:
        raise UsageError("--trace needs OpenTelemetry", "pip install 'streamproof[traces]'")
    asked = {name: getattr(args, name) for name in ("serve.tls", "serve.freeze", "serve.verbose")}
    hosted: config.Hosted | Path | None = None
    if not args.reference:  # which is the same in every folder
        in_python = args.functions is not None and args.functions.suffix == ".py"
        settings = config.load(None if in_python else args.functions, asked, option="--functions")
        asked = {name: settings[name] for name in asked}
        hosted = args.functions if in_python else settings.hosted
    if args.functions is not None and hosted is None:
        raise UsageError(f"{args.functions} describes no functions", "docs/hosting.md shows how")
    hosts = hosted is not None
    if hosts:
        _refuse_options_of_the_reference(args)
    elif args.trace is not None:
        _check_trace(args.trace)
    tls, freeze, verbose = (hosts if value is None else value for value in asked.values())
    if not (verbose and hosts):  # of the reference, what handlers raise can be asked for
        os.environ.setdefault("STREAMER_LOG_LEVEL", "debug" if verbose else "warning")
    if args.handlers and not hosts:
        from streamproof.targets import embedded  # noqa: PLC0415 - the extra [serve]

        embedded.check_handlers(args.handlers)
    level = logging.INFO if asked["serve.verbose"] else logging.WARNING
    logging.basicConfig(stream=sys.stderr, level=level, format="%(message)s")  # like other notes
    serving = _serve(args, hosted, Modes(tls, freeze, verbose))
    try:
        import uvloop  # noqa: PLC0415 - optional, and not on every system
    except ImportError:
        return asyncio.run(serving)
    return uvloop.run(serving)


def _check_trace(path: Path) -> None:
    try:
        path.open("a").close()
    except OSError as error:
        raise UsageError(
            f"--trace {path} cannot be written: {error.strerror}",
            "name a file in a folder that is there",
        ) from error


def _refuse_options_of_the_reference(args: argparse.Namespace) -> None:
    for name, unasked in _OF_THE_REFERENCE.items():
        if getattr(args, name) != unasked:
            raise UsageError(
                f"--{name.replace('_', '-')} is the reference's, and functions are hosted here",
                "add --reference to serve the reference",
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Modes:
    """What holds for functions and for the reference alike."""

    tls: bool
    freeze: bool
    verbose: bool


class Stack(Protocol):
    """What is served."""

    async def start(self) -> Description:
        """Open the port; what a client has to know."""
        ...

    async def stop(self) -> None:
        """End it in order."""
        ...


def _stack(
    args: argparse.Namespace, hosted: config.Hosted | Path | None, state: State, modes: Modes
) -> tuple[Stack, str]:
    certificates = None
    if modes.tls:
        from streamproof.targets import certificates as tls  # noqa: PLC0415 - cryptography, slow

        certificates = tls.prepare(state.directory, datetime.datetime.now(datetime.UTC))
        os.environ.update(certificates.variables(os.environ))  # for all that is started here
    if hosted is not None:
        from streamproof.gateway import Credentials  # noqa: PLC0415 - not needed for --help
        from streamproof.hosting import describe  # noqa: PLC0415 - not needed by the reference
        from streamproof.hosting.stack import HostedStack  # noqa: PLC0415

        keys = Credentials(state.access_key_id, state.secret_access_key)
        description = dataclasses.replace(
            describe.system(hosted, keys),
            freeze=modes.freeze,
            verbose=modes.verbose,
        )
        os.environ.update(describe.variables(description))  # for those in this process
        stack = HostedStack(description, port=args.port, certificates=certificates)
        names = [function.name for function in description.functions]
        return stack, functions_of(names, hosted if isinstance(hosted, Path) else hosted.path)
    from streamproof.targets import embedded  # noqa: PLC0415 - the extra [serve]

    reference = embedded.Stack(
        state,
        embedded.StackOptions(
            port=args.port,
            messages_per_minute=args.rate_limit,
            in_flight=args.in_flight_limit,
            workers=args.workers,
            tenants=tuple(args.allow_tenant),
            audience=args.audience,
            handlers=tuple(str(path.resolve()) for path in args.handlers),
            raw_echo=args.raw_echo,
            verbose=modes.verbose,
            freeze=modes.freeze,
            certificates=certificates,
            traces=str(args.trace.resolve()) if args.trace else "",
        ),
    )
    return reference, "the reference"


def functions_of(names: Sequence[str], file: Path) -> str:
    """How many functions of which file are served, the first of them by name."""
    plural = "" if len(names) == 1 else "s"
    more = ", ..." if len(names) > NAMES_SHOWN_MAX else ""
    return f"{len(names)} function{plural} ({', '.join(names[:NAMES_SHOWN_MAX])}{more}) of {file}"


def _end(state: State, withdrawn: threading.Event) -> None:
    note("what takes no notice is ended")
    try:
        if not withdrawn.is_set():  # afterwards, what stands there may be another's
            state.withdraw()
    finally:
        os._exit(ExitCode.NO_VERDICT)  # a thread that hangs would keep the interpreter from its end


async def _serve(
    args: argparse.Namespace, hosted: config.Hosted | Path | None, modes: Modes
) -> ExitCode:
    from streamproof.targets.state import prepare  # noqa: PLC0415 - imports cryptography, slow

    state = prepare(args.state)
    try:
        stack, what = _stack(args, hosted, state, modes)
    except BaseException:
        state.release()
        raise
    stopping, withdrawn = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stop(*_: object) -> None:
        bound = threading.Timer(STOP_S, _end, (state, withdrawn))
        bound.daemon = True
        bound.start()
        if not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)

    # Not the loop's own handlers: a function in this process may keep the loop busy for good.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        description = dataclasses.replace(await stack.start(), pid=os.getpid())
        state.announce(description)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        say(description.to_json())
        sys.stdout.flush()
        note(f"serving {what} on {description.url}, described in {state.target}; Ctrl-C stops")
        if hosted is None and not args.reference:
            note(f"no functions in {config.FILE_NAME}: docs/hosting.md shows how to serve yours")
        if description.management_url:
            note(f"the live page is {urljoin(description.management_url, '/')}")
        await stopping.wait()
        note("stopping")
    finally:
        state.withdraw()
        withdrawn.set()
        await stack.stop()
        state.release()
    return ExitCode.HOLDS
