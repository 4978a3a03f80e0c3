"""Locust as a program: started headless from outside, its lines read, its results parsed.

Importing locust patches sockets and threads of the process that does it, so nobody here does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import signal
import subprocess
import sys
from types import MappingProxyType
from typing import TYPE_CHECKING

from streamproof.errors import ExitCode, HarnessError, StreamproofError
from streamproof.load.words import Progress, progress_line
from streamproof.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PROGRESS_VARIABLE = "STREAMPROOF_PROGRESS"  # "json": progress as JSON lines on standard output
TABLES_NAME = "locust"  # of Locust's own figures; it adds .json
LINE_BYTES_MAX = 65_536
STOP_TIMEOUT_S = 60.0  # a drain, a verdict, and the orderly stop of the stack
# Where `streamproof load` calls an option otherwise than locust does.
OUR_NAMES = {
    "settings": "--config",
    "users": "--connections",
    "spawn_rate": "--connects",
    "run_time": "--seconds",
}
COMPLAINT = "streamproof: "  # how a line begins that says what went wrong


@dataclasses.dataclass(frozen=True, slots=True)
class Words:
    """The options of a run; None leaves it to the scenario and the settings."""

    target: str | None = None
    token_command: str | None = None
    jwt_key: str | None = None
    issuer: str | None = None
    audience: str | None = None
    environment: str | None = None
    settings: str | None = None
    size: str | None = None
    seed: int | None = None
    rate: float | None = None
    users: int | None = None
    spawn_rate: float | None = None
    run_time: str | None = None
    looks: int | None = None

    def options(self, names: Mapping[str, str] = MappingProxyType({})) -> list[str]:
        """For locust's command line; `names` are those of another one, by field."""
        return [
            word
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
            for word in (names.get(field.name, f"--{field.name.replace('_', '-')}"), str(value))
        ]


def command(files: Sequence[Path], words: Words, folder: Path) -> list[str]:
    """The command line of a headless run of these scenario files."""
    return [
        *(sys.executable, "-m", "locust", "--headless", "--loglevel", "ERROR"),
        *("-f", ",".join(map(str, files))),
        *("--json-file", str(folder / TABLES_NAME)),  # else its rounded tables are printed
        *words.options(),
        *("--out", str(folder)),
    ]


def again(scenarios: Sequence[str], words: Words, token: str | None = None) -> list[str]:
    """What follows `streamproof` to repeat a run; `run_time` is in seconds, without a unit."""
    secret = [] if token is None else ["--token", token]
    return ["load", *scenarios, *words.options(OUR_NAMES), *secret]


def require_locust() -> None:
    """`ModuleNotFoundError` of locust, which the command line turns into the extra's name."""
    if importlib.util.find_spec("locust") is None:
        raise ModuleNotFoundError("No module named 'locust'", name="locust")


def run(
    argv: Sequence[str], folder: Path, show: Callable[[str], None], token: str | None = None
) -> tuple[ExitCode, Results | None]:
    """Run `argv` to its end and answer its exit code and the results it left in `folder`.

    `show` gets one line of progress a second. `token` goes through the environment, where `ps`
    does not see it. Ctrl-C is passed on once and judged there. Raises `HarnessError` for an end
    that says nothing about the target, and what the run itself complained about.
    """
    environment = dict(os.environ) | {PROGRESS_VARIABLE: "json"}
    if token is not None:
        environment["STREAMPROOF_TOKEN"] = token
    complaints = _followed(argv, environment, show)
    path = folder / "results.json"
    results = Results.read(path) if path.exists() else None
    code = complaints.code
    if complaints.lines and code in (ExitCode.USAGE, ExitCode.NO_VERDICT):
        raise _RefusedError(ExitCode(code), complaints.lines)
    if code not in set(ExitCode) or (results is None and code != ExitCode.INTERRUPTED):
        last = complaints.last or "it said nothing"
        raise HarnessError(f"locust ended with {code} and left no results", last)
    return ExitCode(code), results


class _RefusedError(StreamproofError):
    """The run said itself what is wrong."""

    def __init__(self, code: ExitCode, lines: Sequence[str]) -> None:
        super().__init__(lines[0], " ".join(lines[1:]))
        self.exit_code = code


@dataclasses.dataclass(slots=True)
class _Said:
    """What a run printed that was no progress."""

    code: int = 0
    lines: list[str] = dataclasses.field(default_factory=list)
    last: str = ""

    def take(self, text: str, show: Callable[[str], None]) -> None:
        """One line."""
        if text.startswith(COMPLAINT):
            self.lines = [text.removeprefix(COMPLAINT)]
        elif self.lines and text.startswith("  "):
            self.lines.append(text.strip())
        elif (progress := _progress(text)) is not None:
            show(progress_line(progress))
        elif text.strip():
            self.last = text.strip()
            show(self.last)


def _progress(text: str) -> Progress | None:
    """The progress that a line carries, if it does."""
    if not text.startswith('{"progress"'):
        return None
    try:
        return Progress(**json.loads(text)["progress"])
    except (ValueError, KeyError, TypeError):
        return None


def _followed(
    argv: Sequence[str], environment: Mapping[str, str], show: Callable[[str], None]
) -> _Said:
    """Start, read every line, wait."""
    said = _Said()
    with subprocess.Popen(  # noqa: S603 - our own command line
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # Ctrl-C reaches us, and we pass it on once
    ) as process:
        try:
            _read(process, said, show)
        except KeyboardInterrupt:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            _read(process, said, show)
        except BaseException:
            process.terminate()
            raise
        try:
            said.code = process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise HarnessError("locust did not end", "run it again") from None
    return said


def _read(process: subprocess.Popen[bytes], said: _Said, show: Callable[[str], None]) -> None:
    if process.stdout is not None:  # always: a pipe was asked for
        while line := process.stdout.readline(LINE_BYTES_MAX):
            said.take(line.decode("utf-8", "replace").rstrip(), show)
