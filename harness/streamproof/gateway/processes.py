"""Child processes that end with their parent, and their output line by line.

On Linux the kernel kills a child when the gateway is gone, however it went (PR_SET_PDEATHSIG);
elsewhere only an orderly stop ends them.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping

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


async def start_process(
    command: tuple[str, ...], environment: Mapping[str, str]
) -> asyncio.subprocess.Process:
    """Start a program in a session of its own; raises `OSError` when it cannot be run."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
        start_new_session=sys.platform != "win32",  # Ctrl-C is the gateway's to handle
        # Two calls that take no lock: safe between fork and exec.
        preexec_fn=_die_with(os.getpid()),
    )


def kill(process: asyncio.subprocess.Process) -> None:
    """End a process and what it started, by its id; harmless when it is gone."""
    if process.returncode is not None:
        return
    try:
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


async def read_lines(stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    """Hand over each line of `stream`; one beyond `LINE_BYTES_MAX` is cut into several."""
    rest = b""
    while chunk := await stream.read(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            take(line.decode("utf-8", "replace").rstrip("\r"))
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
