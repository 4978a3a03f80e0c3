"""`streamproof report`: render runs again from their results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamproof.errors import ExitCode, UsageError
from streamproof.terminal import note, say

if TYPE_CHECKING:
    import argparse

HELP = "render runs again from their results.json"
EXAMPLES = """
streamproof report reports/latest
streamproof report runs/monday/results.json runs/tuesday
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="+", type=Path, help="a run's folder or its results.json"
    )


def run(args: argparse.Namespace) -> ExitCode:
    """Write report.html and junit.xml beside each run's results; print the paths.

    Ends with the worst of the runs' own codes, so that a report can gate like the run itself.
    """
    from streamproof.report import render, words  # noqa: PLC0415 - keeps --help fast
    from streamproof.results import Results  # noqa: PLC0415 - keeps --help fast

    paths = [path / render.RESULTS_NAME if path.is_dir() else path for path in args.runs]
    loaded = [(path.parent, Results.read(path)) for path in paths]
    for folder, results in loaded:
        try:
            page = render.write(results, folder)
        except OSError as error:
            raise UsageError(
                f"cannot write to {folder}: {error.strerror or error}",
                "copy the run's folder to where you may write",
            ) from error
        note(words.headline(results))
        say(str(page))
    return ExitCode.worst([results.exit_code for _, results in loaded])
