"""One part of a run as a program of its own: a command of ours, its words, and what it left.

The contract suite and the load generator do not share a process: the latter's library changes
sockets and threads for everybody in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from streamproof.errors import ExitCode
from streamproof.report.render import HTML_NAME, JUNIT_NAME, RESULTS_NAME
from streamproof.results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

STOP_TIMEOUT_S = 20.0  # an orderly stop of a stack takes up to 10 s
LINE_BYTES_MAX = 64 * 1024
TAIL_LINES_MAX = 10
PROGRAM = (sys.executable, "-m", "streamproof.cli")


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a part ended; `results` is None when it left none."""

    name: str
    code: int
    results: Results | None
    tail: tuple[str, ...]  # its last lines on standard error

    @property
    def last_line(self) -> str:
        """The last line that it printed; what is wrong stands there when something is."""
        return self.tail[-1] if self.tail else "it printed nothing"


def run(
    name: str,
    words: Sequence[str],
    folder: Path,
    show: Callable[[str], None],
    timeout_s: float,
    program: Sequence[str] = PROGRAM,
) -> Ended:
    """Run `streamproof NAME WORDS --out FOLDER`; `show` gets what it tells on standard error.

    After `timeout_s` it is interrupted, as Ctrl-C would. An interrupt here is passed on to it,
    waited for, and raised again: nothing is left running.
    """
    command = [*program, name, *words, "--out", str(folder)]
    with subprocess.Popen(  # noqa: S603 - our own command line
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # its product is in the folder
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches us, and we pass it on once
    ) as process:
        clock = threading.Timer(timeout_s, _interrupt, [process])
        clock.start()
        try:
            tail = _follow(process, show)
            process.wait()
        except BaseException:
            _stop(process)
            raise
        finally:
            clock.cancel()
    path = folder / RESULTS_NAME
    results = Results.read(path) if path.exists() else None
    return Ended(name, process.returncode, results, tail)


def _follow(process: subprocess.Popen[bytes], show: Callable[[str], None]) -> tuple[str, ...]:
    """Show what the part tells until it closes standard error; answers the last lines."""
    tail: deque[str] = deque(maxlen=TAIL_LINES_MAX)
    if process.stderr is not None:  # always: a pipe was asked for
        while line := process.stderr.readline(LINE_BYTES_MAX):
            if text := line.decode("utf-8", "replace").rstrip():
                tail.append(text)
                show(text)
    return tuple(tail)


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """What Ctrl-C does; nothing when it has ended."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt, then insist; returns when it is gone."""
    _interrupt(process)
    try:
        process.wait(STOP_TIMEOUT_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def gather(part: Path, folder: Path) -> None:
    """Move what a part left beside the run's own files, and remove its folder."""
    own = {RESULTS_NAME, HTML_NAME, JUNIT_NAME}
    for file in sorted(part.iterdir()) if part.is_dir() else ():
        if file.is_file() and file.name not in own:
            taken = (folder / file.name).exists()
            file.replace(folder / (f"{part.name}-{file.name}" if taken else file.name))
    shutil.rmtree(part, ignore_errors=True)


def code_of(parts: Sequence[Ended]) -> ExitCode:
    """The exit code of parts together; one that left no results gave no verdict."""
    codes = []
    for part in parts:
        known = part.code in set(ExitCode)
        codes.append(ExitCode(part.code) if known else ExitCode.NO_VERDICT)
        if part.results is None and part.code == ExitCode.HOLDS:
            codes.append(ExitCode.NO_VERDICT)
    return ExitCode.worst(codes) if codes else ExitCode.NO_VERDICT
