"""A run's folder, its name, and what it says about the machine it ran on."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproof.errors import UsageError
from streamproof.results import RunInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

REPORTS_FOLDER = "reports"
LATEST_NAME = "latest"
CPUINFO = Path("/proc/cpuinfo")
CPUINFO_BYTES_MAX = 256 * 1024
SECRET_OPTIONS = frozenset({"--token", "--token-command"})
LIBRARIES = ("streamproof", "websockets", "pytest", "hypothesis", "locust", "uvloop")


def run_id(started: datetime, command: str) -> str:
    """A run's name, which sorts by time and can be a folder anywhere: 20261123-215255-verify."""
    return f"{started:%Y%m%d-%H%M%S}-{command}"


def shown_word(word: str) -> str:
    """A word of a command line, fit to be kept: the arguments of a `cmd:` target are left out."""
    kind, colon, rest = word.partition(":")
    words = rest.split(maxsplit=1)
    if kind != "cmd" or not words:
        return word
    return f"{kind}{colon}{words[0]}{' ...' if len(words) > 1 else ''}"


def command_line(words: Iterable[str]) -> str:
    """The words that repeat a run, as a shell takes them; what may be a secret is left out."""
    shown: list[str] = []
    hide = False
    for word in words:
        option, equals, value = word.partition("=")
        secret = option in SECRET_OPTIONS
        if hide or (secret and equals):
            shown.append("..." if hide else f"{option}=...")
        elif equals and option.startswith("--"):
            shown.append(f"{option}={shown_word(value)}")
        else:
            shown.append(shown_word(word))
        hide = secret and not equals
    return shlex.join(("streamproof", *shown)).replace("'...'", "...")


def folder_for(run: str, out: Path | None) -> Path:
    """Make the run's folder: `out` itself, or `reports/RUN` in the current folder.

    Raises `UsageError` before anything runs when no file can be written there.
    """
    folder = out if out is not None else Path(REPORTS_FOLDER) / run
    probe = folder / f".{os.getpid()}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror or error}",
            "name another folder with --out",
        ) from error
    return folder


def point_latest(folder: Path) -> None:
    """Make `latest` beside a run's folder stand for it: a link, or a copy where links fail.

    A `latest` that is neither ours nor a link is left alone. Raises OSError for a full disk.
    """
    latest = folder.parent / LATEST_NAME
    if folder == latest:
        return
    partial = folder.parent / f".{LATEST_NAME}.{os.getpid()}"
    try:
        partial.symlink_to(folder.name, target_is_directory=True)
    except (OSError, NotImplementedError):  # no links here: Windows without the privilege
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(latest)
        shutil.copytree(folder, latest)
        return
    try:
        partial.replace(latest)
    except OSError:  # a real folder of that name, which somebody else made
        partial.unlink()


def machine() -> dict[str, Any]:
    """The machine as a report names it: cpu, cores, memory_gib, system, python."""
    pages = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    known = getattr(os, "sysconf_names", {})
    size, count = (os.sysconf(name) if name in known else 0 for name in pages)
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        "memory_gib": round(size * count / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _cpu_name() -> str:
    """The processor's name where the system tells it, else its architecture."""
    with contextlib.suppress(OSError), CPUINFO.open("rb") as file:
        for line in file.read(CPUINFO_BYTES_MAX).decode("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def versions(names: Sequence[str] = LIBRARIES) -> dict[str, str]:
    """The installed versions of those libraries that are installed."""
    found: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def run_info(
    run: str,
    words: Iterable[str],
    started: datetime,
    duration_s: float,
    target: dict[str, Any],
) -> RunInfo:
    """The description of a run that began at `started` (UTC) by the command line `words`.

    `words` are what follows `streamproof`; `target` holds no secrets.
    """
    return RunInfo(
        id=run,
        command=command_line(words),
        started_at=f"{started:%Y-%m-%dT%H:%M:%SZ}",
        duration_s=round(duration_s, 3),
        target=target,
        machine=machine(),
        versions=versions(),
    )
