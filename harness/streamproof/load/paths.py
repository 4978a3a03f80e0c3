"""Where scenarios are, in the tree and in an installed wheel, and where a run's files go."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

from streamproof.errors import UsageError

PACKAGE = Path(__file__).resolve().parent.parent


def scenarios() -> Path:
    """The folder for `locust -f`: beside the harness in the tree, inside the package in a wheel."""
    for folder in (PACKAGE / "scenarios", PACKAGE.parent.parent / "scenarios"):
        if folder.is_dir():
            return folder
    raise UsageError("the scenarios are not installed", "install streamproof again")


def names() -> list[str]:
    """The scenarios by their file names, sorted; `_*.py` are helpers."""
    return sorted(file.stem for file in scenarios().glob("*.py") if not file.name.startswith("_"))


def run_id(now: datetime.datetime | None = None) -> str:
    """A name for a run that sorts by time: `20250316T004622Z-load`."""
    return f"{now or datetime.datetime.now(datetime.UTC):%Y%m%dT%H%M%SZ}-load"


def run_folder(out: Path | None, name: str) -> Path:
    """Make and answer the run's folder: `out` itself, or `reports/<run>` with `reports/latest`.

    `UsageError` when it cannot be written.
    """
    folder = out or Path("reports") / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
        if out is None:
            _point_latest(folder)
    except OSError as error:
        raise UsageError(
            f"cannot write into {folder}: {error.strerror or error}", "name a folder with --out"
        ) from error
    return folder


def _point_latest(folder: Path) -> None:
    """`latest` beside the run's folder: a link, or where there are none, a file with the name."""
    latest = folder.parent / "latest"
    partial = folder.parent / f".latest-{os.getpid()}"
    try:
        partial.symlink_to(folder.name, target_is_directory=True)
        partial.replace(latest)
    except (OSError, NotImplementedError):
        partial.unlink(missing_ok=True)
        (folder.parent / "latest.txt").write_text(folder.name, encoding="utf-8")
