"""Child processes that end with their parent, and their output line by line.

On Linux the kernel kills a child when the gateway is gone, however it went (PR_SET_PDEATHSIG);
elsewhere only an orderly stop ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

LINE_BYTES_MAX = 256 * 1024
_CHUNK_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with(parent: int) -> Callable[[], None] | None:
    if _LIBC is None:
        return None
    prctl = _LIBC.prctl

    def run() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before we asked
            os._exit(1)

    return run


class _Streams(asyncio.subprocess.SubprocessStreamProtocol):
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_CHUNK_BYTES, loop)
        self.exited = loop.create_future()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set_result(None)


class Process(asyncio.subprocess.Process):
    """A process that tells its end; `wait` waits for its pipes, which a grandchild may hold."""

    exited: asyncio.Future[None]


async def start_process(
    command: tuple[str, ...], environment: Mapping[str, str], directory: Path | None = None
) -> Process:
    """Start a program in a session of its own; raises `OSError` when it cannot be run."""
    loop = asyncio.get_running_loop()
    transport, streams = await loop.subprocess_exec(
        lambda: _Streams(loop),
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        cwd=directory,
        start_new_session=sys.platform != "win32",  # Ctrl-C is the gateway's to handle
        # Two calls that take no lock: safe between fork and exec.
        preexec_fn=_die_with(os.getpid()),
    )
    process = Process(transport, streams, loop)
    process.exited = streams.exited
    return process


def kill(process: asyncio.subprocess.Process) -> None:
    """End a process and what it started, by its id; harmless when it is gone."""
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        signal_group(process.pid, "SIGKILL")


def signal_group(group: int, name: str) -> None:
    """Send a signal to a process of ours and what it started; harmless when they are gone."""
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: all are zombies
            os.killpg(group, signal.Signals[name])


_GUARD = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


class Guard:
    """A process that kills the groups it was told of once this process has ended, however it went.

    PR_SET_PDEATHSIG reaches children only; what they started waits for its socket to close, and
    what is stopped waits for ever.
    """

    def __init__(self) -> None:
        """Nothing is started before the first group."""
        self._process: subprocess.Popen[str] | None = None

    @contextlib.contextmanager
    def watching(self, group: int) -> Iterator[None]:
        """Kill this group if we end within the block; after it, the number may be another's."""
        if self._process is None:
            self._process = subprocess.Popen(  # noqa: S603, our own program
                (sys.executable, "-I", "-S", "-c", _GUARD),
                stdin=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self._tell(f"+{group}")
        try:
            yield
        finally:
            self._tell(f"-{group}")

    def stop(self) -> None:
        """End the guard; takes milliseconds."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # somebody killed it
                self._process.stdin.write(f"{line}\n")
                self._process.stdin.flush()


async def read_lines(stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    """Hand over each line of `stream`; one beyond `LINE_BYTES_MAX` is cut into several."""
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            for part in line.rstrip(b"\r").split(b"\r"):  # as awslambdaric has it in a traceback
                take(part.decode("utf-8", "replace"))
        if len(rest) > LINE_BYTES_MAX:
            take(rest.decode("utf-8", "replace"))
            rest = b""
    if rest:
        take(rest.decode("utf-8", "replace"))


def how_it_ended(returncode: int) -> str:
    """Say how a process ended, as Lambda does: `signal: killed`, `exit status 1`."""
    if returncode >= 0:
        return f"exit status {returncode}"
    if -returncode == 9:
        return "signal: killed"
    return f"signal: {signal.strsignal(-returncode) or -returncode}".lower()
