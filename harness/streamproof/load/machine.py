"""What a result must confess: which machine, which versions, which command."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any

from streamproof.results import RunInfo

VERSIONS_OF = ("streamproof", "websockets", "locust", "gevent", "uvloop")
CPUINFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        return platform.processor() or platform.machine()
    return platform.processor() or platform.machine()


def memory_gib() -> float | None:
    """Physical memory; None where the system does not say."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def machine() -> dict[str, Any]:
    """For `RunInfo.machine`."""
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Installed versions of what the figures depend on."""
    found = {}
    for name in VERSIONS_OF:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def run_info(
    run_id: str,
    words: list[str],
    began: datetime.datetime,
    duration_s: float,
    target: dict[str, Any],
) -> RunInfo:
    """The description of a run whose command line is `words`, which hold no secret."""
    return RunInfo(
        id=run_id,
        command=shlex.join(words),
        started_at=began.isoformat(timespec="seconds"),
        duration_s=round(duration_s, 3),
        target=target,
        machine=machine(),
        versions=versions(),
    )
