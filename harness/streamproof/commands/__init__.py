"""One module per command, imported only when it is named: `streamproof --help` stays fast.

A command module defines `HELP` (one line, no full stop), `EXAMPLES` (one command per line),
`add_arguments(parser)` and `run(args) -> ExitCode`. Whatever is heavy is imported inside `run`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import argparse

    from streamproof.errors import ExitCode

# In the order in which a newcomer needs them, which is the order of `--help`.
NAMES = (
    "verify",
    "contract",
    "load",
    "nemesis",
    "replay",
    "report",
    "serve",
    "demo",
    "token",
    "config",
)


class Command(Protocol):
    """What every module of this package offers."""

    HELP: str
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's options."""
        ...

    def run(self, args: argparse.Namespace) -> ExitCode:
        """Do the work; raise a `StreamproofError` for what the caller can mend."""
        ...


def command(name: str) -> Command:
    """The module of the command `name`, which is one of `NAMES`."""
    return cast("Command", importlib.import_module(f"{__name__}.{name}"))
