"""Words for people and pipes: the product to standard output, all else to standard error."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Write a line of the command's product, which a script may read."""
    sys.stdout.write(f"{text}\n")


def note(text: str) -> None:
    """Write a line about what is going on, at once, which a script may ignore."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
