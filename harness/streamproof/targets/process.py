"""A target that is a program of ours to start and to end: `embedded` and `cmd:`.

The program prints one JSON line when it is ready; everything it writes is read bounded, and what
it said last on standard error explains a start that failed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO

from streamproof.errors import TargetUnreachableError, UsageError
from streamproof.targets.base import DESCRIPTION_BYTES_MAX

STOP_TIMEOUT_S = 15.0  # the orderly stop has 10 s (docs/contract.md)
ERROR_LINES_MAX = 50
ERROR_LINE_BYTES_MAX = 2000


class Child:
    """One started program; `stop` ends it by its process id and is safe to call twice."""

    def __init__(
        self,
        command: Sequence[str],
        name: str,
        *,
        timeout_s: float,
        patience_s: float = STOP_TIMEOUT_S,
    ) -> None:
        """Start `command` and wait at most `timeout_s` for its line in `first_line`."""
        self._patience_s = patience_s
        self.name = name
        self._errors: deque[str] = deque(maxlen=ERROR_LINES_MAX)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - the command is the user's or our own
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                preexec_fn=_die_with_parent(),  # noqa: PLW1509 - one C call, library loaded before
                start_new_session=True,  # Ctrl-C reaches us, and we stop it in order
            )
        except OSError as error:
            raise UsageError(
                f"{name} does not start: {error.strerror or error}", "check the command"
            ) from error
        lines: queue.Queue[bytes] = queue.Queue(maxsize=1)
        self._threads = [
            _drain(self.process.stdout, lambda line: _offer(lines, line)),
            _drain(self.process.stderr, self._keep_error),
        ]
        try:
            line = lines.get(timeout=timeout_s)
        except queue.Empty:
            self.stop()
            raise self._unreachable(f"{name} printed nothing for {timeout_s:g} s") from None
        if not line:
            self.stop()
            raise self._unreachable(
                f"{name} ended with {self.process.returncode} before it was ready"
            )
        self.first_line = line.decode("utf-8", "replace")

    def _keep_error(self, line: bytes) -> None:
        text = line[:ERROR_LINE_BYTES_MAX].decode("utf-8", "replace").strip()
        if text:
            self._errors.append(text)

    def _unreachable(self, message: str) -> TargetUnreachableError:
        said = self._errors[-1] if self._errors else "it said nothing on standard error"
        return TargetUnreachableError(message, f"its last words: {said}")

    @property
    def errors(self) -> tuple[str, ...]:
        """The last lines of its standard error."""
        return tuple(self._errors)

    def stop(self) -> None:
        """Ask it to stop, insist after `patience_s`; returns when it is gone."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(self._patience_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for thread in self._threads:
            thread.join(timeout=2.0)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def _offer(lines: queue.Queue[bytes], line: bytes) -> None:
    with contextlib.suppress(queue.Full):
        lines.put_nowait(line)


def _drain(stream: IO[bytes] | None, keep: Callable[[bytes], None]) -> threading.Thread:
    """Read a stream to its end, line by line and bounded, so that the program never blocks."""

    def run() -> None:
        while stream is not None:
            try:
                line = stream.readline(DESCRIPTION_BYTES_MAX)
            except (OSError, ValueError):
                line = b""
            keep(line)
            if not line:
                return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux, what makes the child end when this process is killed; elsewhere nothing."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None  # the signal comes when the starting thread ends
    library = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def arm() -> None:
        library.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return arm
