"""The command line: finds the command, and turns every ending into one exit code.

This is the one place that catches. A `StreamproofError` becomes one line and a hint on standard
error; a missing extra, the line that installs it; anything else is a fault of the harness, shown
with its traceback, and says nothing about the target. Exit codes: `streamproof.errors.ExitCode`.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback
from importlib import metadata
from typing import TYPE_CHECKING, NoReturn

from streamproof import commands
from streamproof.errors import ExitCode, StreamproofError, UsageError
from streamproof.terminal import note, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SUMMARY = "Does a request system over API Gateway WebSocket keep its contract, and how fast is it?"

# Which extra brings a library that the base install lacks; asked when an import fails.
EXTRA_OF = {
    "locust": "load",
    "gevent": "load",
    "numpy": "load",
    "matplotlib": "load",
    "aws_lambda_powertools": "serve",
    "awslambdaric": "serve",
    "openpyxl": "serve",
    "streamer_reference": "serve",
    "uvloop": "serve",
    "boto3": "aws",
    "botocore": "aws",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are ours: one line, the nearest option, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` instead of printing the whole usage."""
        raise UsageError(f"{self._name}: {message}", f"see `{self.prog} --help`")

    @property
    def _name(self) -> str:
        """The command's own: the program's stands in front of every complaint."""
        return self.prog.removeprefix("streamproof ")

    def refuse_unknown(self, words: Sequence[str]) -> NoReturn:
        """Name the first word that no option takes, and the option that it resembles."""
        word = words[0].split("=")[0]
        options = (text for action in self._actions for text in action.option_strings)
        what = "option" if word.startswith("-") else "argument"
        raise UsageError(
            f"{self._name}: unknown {what} {word}",
            _nearest(word, options) or f"see `{self.prog} --help`",
        )


def _nearest(word: str, known: Iterable[str]) -> str:
    """A question about the known word that `word` resembles most, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else ""


def version() -> str:
    """The installed distribution's version; a tree on the path alone has none."""
    try:
        return metadata.version("streamproof")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def overview() -> str:
    """What `streamproof --help` prints."""
    width = max(map(len, commands.NAMES))
    lines = [f"  {name:<{width}}  {commands.command(name).HELP}" for name in commands.NAMES]
    return "\n".join(
        (
            SUMMARY,
            "",
            "usage: streamproof COMMAND [OPTION...]",
            "",
            *lines,
            "",
            "Begin with `streamproof verify`; `streamproof COMMAND --help` shows examples.",
            "Exit: 0 holds, 1 does not hold, 2 usage, 3 no verdict, 130 interrupted.",
        )
    )


def parser_of(name: str) -> Parser:
    """The parser of one command, with its examples at the end."""
    module = commands.command(name)
    examples = "\n".join(f"  {line.strip()}" for line in module.EXAMPLES.strip().splitlines())
    parser = Parser(
        prog=f"streamproof {name}",
        description=f"{module.HELP[:1].upper()}{module.HELP[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return parser


def dispatch(words: Sequence[str]) -> ExitCode:
    """Run what the words say; raises what the command raises."""
    first, rest = (words[0], words[1:]) if words else ("--help", ())
    if first in ("--help", "-h", "help"):
        say(overview())
        return ExitCode.HOLDS
    if first in ("--version", "-V"):
        say(f"streamproof {version()}")
        return ExitCode.HOLDS
    if first not in commands.NAMES:
        hint = _nearest(first, commands.NAMES) or f"commands: {', '.join(commands.NAMES)}"
        raise UsageError(f"there is no command {first}", hint)
    parser = parser_of(first)
    args, unknown = parser.parse_known_args(list(rest))
    if unknown:
        parser.refuse_unknown(unknown)
    return commands.command(first).run(args)


def _complain(message: str, hint: str = "") -> None:
    """One line on standard error, and one that names the next step."""
    note(f"streamproof: {message}")
    if hint:
        note(f"  {hint}")


def _missing(error: ModuleNotFoundError) -> ExitCode:
    """Say which extra brings the library that is not there; a fault of ours is raised again."""
    library = (error.name or "").split(".")[0]
    extra = EXTRA_OF.get(library)
    if extra is None:
        raise error
    _complain(
        f"this needs {library}, which is not installed",
        f"python -m pip install 'streamproof[{extra}]'",
    )
    return ExitCode.USAGE


def _broken_pipe() -> ExitCode:
    """The reader left: nobody got the verdict. Keeps the interpreter's last flush silent."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.NO_VERDICT


def main(words: Sequence[str] | None = None) -> int:
    """The console script: `words` default to the process's own; answers the exit code."""
    try:
        try:
            code = dispatch(sys.argv[1:] if words is None else words)
            sys.stdout.flush()  # a reader that left is noticed here, not at interpreter exit
        except ModuleNotFoundError as error:
            code = _missing(error)
    except StreamproofError as error:
        _complain(error.message, error.hint)
        code = error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        code = _broken_pipe()
    except Exception:  # noqa: BLE001 - a fault of the harness must end as 3, never as 1
        traceback.print_exc()
        _complain("the harness broke: nothing is known about the target")
        code = ExitCode.NO_VERDICT
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
