"""What is going on, on standard error: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from streamproof.terminal import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINE_MAX = 160  # characters of a live line


@contextlib.contextmanager
def shown(title: str, *, announced: bool = False) -> Iterator[Callable[[str], None]]:
    """A function that shows a line about `title`; on a terminal each replaces the one before.

    `announced`: whoever the lines come from says the title itself.
    """
    if not sys.stderr.isatty():
        if not announced:
            note(f"{title} ...")
        yield note
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal pays for rich
    from rich.markup import escape  # noqa: PLC0415 - only a terminal pays for rich

    console = Console(stderr=True, highlight=False)
    with console.status(f"[bold]{escape(title)}[/]") as status:
        yield lambda line: status.update(
            f"[bold]{escape(title)}[/]  [dim]{escape(line.strip()[:LINE_MAX])}[/]"
        )
