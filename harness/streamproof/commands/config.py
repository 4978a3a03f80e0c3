"""`streamproof config`: what is in force and where each value came from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from streamproof import config
from streamproof.errors import ExitCode
from streamproof.terminal import say

if TYPE_CHECKING:
    import argparse

HELP = "print the settings in force and where each came from"
EXAMPLES = """
streamproof config
streamproof config --target ws://127.0.0.1:9000/dev --jwt-key dev.pem
streamproof config --schema > streamproof.schema.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    config.add_target_arguments(parser)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="print JSON")
    shape.add_argument("--schema", action="store_true", help="print the file's JSON schema")


def run(args: argparse.Namespace) -> ExitCode:
    """Print every key with its value and its source; secrets stay hidden."""
    if args.schema:
        say(json.dumps(config.schema(), indent=2))
        return ExitCode.HOLDS
    settings = config.from_arguments(args).settings.values()
    if args.json:
        shown = {
            setting.key: {
                "value": setting.shown if setting.secret else setting.value,
                "source": setting.source,
            }
            for setting in settings
        }
        say(json.dumps(shown, indent=2, ensure_ascii=False))
        return ExitCode.HOLDS
    key_width = max(len(setting.key) for setting in settings)
    value_width = max(len(setting.shown) for setting in settings)
    for setting in settings:
        say(f"{setting.key:<{key_width}}  {setting.shown:<{value_width}}  {setting.source}")
    return ExitCode.HOLDS
