"""Where scenarios are: beside the harness in the tree, inside the package in an installed wheel."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from streamproof.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGE = Path(__file__).resolve().parent.parent
# An editable install and the tree itself have no copy in the package, a wheel has no tree.
FOLDERS = (PACKAGE / "scenarios", PACKAGE.parent.parent / "scenarios")


def scenarios(folders: Sequence[Path] = FOLDERS) -> Path:
    """The folder for `locust -f`; `UsageError` when there is none."""
    for folder in folders:
        if folder.is_dir():
            return folder
    raise UsageError("the scenarios are not installed", "install streamproof again")


def names(folder: Path) -> list[str]:
    """The scenarios by their file names, sorted; `_*.py` are helpers."""
    return sorted(file.stem for file in folder.glob("*.py") if not file.name.startswith("_"))


def files(words: Sequence[str], folder: Path) -> list[Path]:
    """The files of the named scenarios, of all for no name; `UsageError` for an unknown one."""
    known = names(folder)
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"scenarios: {', '.join(known)}"
            raise UsageError(f"there is no scenario {word}", hint)
    return [folder / f"{name}.py" for name in (words or known)]
