"""`streamproof demo`: the reference at work for a few seconds, on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streamproof.errors import ExitCode, HarnessError
from streamproof.terminal import note, say

if TYPE_CHECKING:
    import argparse

HELP = "watch the reference at work: progress, failure, a killed worker"
EXAMPLES = """
streamproof demo
"""

USER, TENANT = "demo-user", "demo-tenant"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There is nothing to choose."""
    del parser


def run(args: argparse.Namespace) -> ExitCode:
    """Start an embedded stack, play the scenes, and stop it; 1 when a scene ended wrongly."""
    from rich.console import Console  # noqa: PLC0415 - keeps --help fast

    from streamproof import demo  # noqa: PLC0415 - keeps --help fast
    from streamproof.targets import Identity, resolve  # noqa: PLC0415 - keeps --help fast

    del args
    note("starting a stack of its own ...")
    with resolve("embedded") as target:
        if target.mint is None:
            raise HarnessError("the embedded stack names no signing key")
        token = target.mint.mint(Identity(USER, TENANT, ("probe",)))
        shown = asyncio.run(demo.play(target.url, token, Console()))
    if not shown:
        note("streamproof: a scene did not end as it should")
        return ExitCode.BROKEN
    say("\nNow judge it: streamproof verify")
    return ExitCode.HOLDS
