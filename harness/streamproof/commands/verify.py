"""`streamproof verify`: contract, load and report on one target, and one closing sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from streamproof import config
from streamproof.errors import ExitCode, HarnessError, StreamproofError, UsageError
from streamproof.terminal import note, say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from streamproof.parts import Ended
    from streamproof.results import Results

HELP = "contract, load and report on one target: the main job"
EXAMPLES = """
streamproof verify
streamproof verify --size smoke --out runs/today
streamproof verify --target file:DIR/target.json
streamproof verify --target wss://example.test/dev --environment dev --jwt-key dev.pem
"""

BUDGET_S = 235.0  # the whole of it ends within four minutes
LOOKS = ("--looks", "2")  # a third would not end within it
PARTS_FOLDER = ".parts"
COMPLAINT = "streamproof: "  # how every command begins the line that says what is wrong


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    config.add_target_arguments(parser)
    parser.add_argument("--size", choices=("smoke", "full"), help="of the load (default full)")
    parser.add_argument("--seed", type=int, metavar="N", help="of contract and load (default 1)")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder (default reports/RUN)"
    )
    parser.add_argument("--json", action="store_true", help="print results.json instead of words")


def run(args: argparse.Namespace) -> ExitCode:
    """Run both parts, write the run's folder, and say what was found."""
    from streamproof import runs, targets  # noqa: PLC0415 - keeps --help fast

    settings = config.from_arguments(args, load__size=args.size, load__seed=args.seed)
    targets.resolve(settings["target"], config.target_options(settings, args.accept_load_on))
    started = datetime.datetime.now(datetime.UTC)
    run_id = runs.run_id(started, "verify")
    folder = runs.folder_for(run_id, args.out)
    begun_s = time.monotonic()
    try:
        parts, missing = _run_parts(args, settings, folder, begun_s + BUDGET_S)
        again = _again(args, settings)
        results = _together(run_id, again, started, begun_s, parts, missing)
        _write(results, folder)
    finally:
        _tidy(folder, own=args.out is None)
    if args.out is None:
        runs.point_latest(folder)
    return _tell(results, parts, folder, as_json=args.json)


def _run_parts(
    args: argparse.Namespace, settings: config.Config, folder: Path, end_s: float
) -> tuple[list[Ended], list[str]]:
    """Both parts, one after the other: the load must have the machine to itself.

    Also answers what is missing, in words: what one part found stands when the next is refused.
    """
    from streamproof import parts  # noqa: PLC0415 - keeps --help fast
    from streamproof.report import progress  # noqa: PLC0415 - keeps --help fast

    common = [*config.given_words(args), "--seed", str(settings["load.seed"])]
    plan = {"contract": common, "load": [*common, "--size", settings["load.size"], *LOOKS]}
    ended: list[Ended] = []
    missing: list[str] = []
    for name, words in plan.items():
        if name == "load" and _production(settings, ended):
            missing.append("load: on production only connections are judged")
            continue
        place = folder / PARTS_FOLDER / name
        place.mkdir(parents=True, exist_ok=True)
        with progress.shown(name, announced=True) as show:
            left_s = max(end_s - time.monotonic(), 1.0)
            part = parts.run(name, words, place, _until_complaint(show), left_s)
        error = _failure(part)
        if error is not None:
            if not any(before.results for before in ended):
                raise error
            code, said = int(error.exit_code), f"{error.message} ({error.hint})"
            part = dataclasses.replace(part, code=code, tail=(said.removesuffix(" ()"),))
        if part.results is None:
            missing.append(f"{name}: {part.last_line}")
        parts.gather(place, folder)
        ended.append(part)
    return ended, missing


def _failure(part: Ended) -> StreamproofError | None:
    """Why a part that left no results was refused or interrupted; None for any other end."""
    if part.results is None and part.code == ExitCode.USAGE:
        return UsageError(*_told(part))
    if part.results is None and part.code == ExitCode.INTERRUPTED:
        return HarnessError(
            f"{part.name} did not end within the {BUDGET_S:.0f} s of a verify run",
            f"run it alone: streamproof {part.name}",
        )
    return None


def _production(settings: config.Config, ended: Sequence[Ended]) -> bool:
    """Whether the words, or the target itself, say that people depend on it."""
    from streamproof.targets.safety import PRODUCTION  # noqa: PLC0415 - keeps --help fast

    found = [part.results.run.target for part in ended if part.results is not None]
    said = [settings["safety.environment"], *(target.get("environment") for target in found)]
    return PRODUCTION in said


def _until_complaint(show: Callable[[str], None]) -> Callable[[str], None]:
    """Show a part's lines up to what it complains of, which we say ourselves, once."""
    complained = False

    def tell(line: str) -> None:
        nonlocal complained
        complained = complained or line.startswith(COMPLAINT)
        if not complained:
            show(line)

    return tell


def _told(part: Ended) -> tuple[str, str]:
    """What a part that refused to run said: its message and its hint."""
    lines = [line.strip() for line in part.tail]
    starts = [i for i, line in enumerate(lines) if line.startswith(COMPLAINT)]
    if not starts:
        return f"{part.name}: {lines[-1] if lines else 'refused to run'}", ""
    message = lines[starts[-1]].removeprefix(COMPLAINT)
    return message, " ".join(lines[starts[-1] + 1 :])


def _together(
    run_id: str,
    words: Sequence[str],
    started: datetime.datetime,
    begun_s: float,
    parts: Sequence[Ended],
    missing: Sequence[str],
) -> Results:
    """One result from what the parts left."""
    from streamproof import runs  # noqa: PLC0415 - keeps --help fast
    from streamproof.results import Results  # noqa: PLC0415 - keeps --help fast

    found = [part.results for part in parts if part.results is not None]
    if not found:
        raise HarnessError(
            "neither part left results: nothing is known about the target",
            "; ".join(f"{part.name}: {part.last_line}" for part in parts),
        )
    target = found[0].run.target
    info = runs.run_info(run_id, words, started, time.monotonic() - begun_s, target)
    contract = next((r.contract for r in found if r.contract is not None), None)
    if contract is not None:
        contract = dataclasses.replace(contract, not_shown=(*contract.not_shown, *missing))
    return Results(
        run=info,
        contract=contract,
        load=next((r.load for r in found if r.load is not None), None),
    )


def _again(args: argparse.Namespace, settings: config.Config) -> list[str]:
    """The words that repeat this run, with size and seed spelled out."""
    size, seed = settings["load.size"], str(settings["load.seed"])
    words = config.given_words(args)
    if args.target is None:
        words = ["--target", settings["target"], *words]
    return ["verify", *words, "--size", size, "--seed", seed]


def _write(results: Results, folder: Path) -> None:
    """All files of the run; a full disk is told in one line."""
    from streamproof.report import render  # noqa: PLC0415 - keeps --help fast

    try:
        results.write(folder / render.RESULTS_NAME)
        render.write(results, folder)
    except OSError as error:
        raise UsageError(
            f"cannot write to {folder}: {error.strerror or error}", "make room and run it again"
        ) from error


def _tidy(folder: Path, *, own: bool) -> None:
    """Remove what the parts left behind, and what is half a run where the folder is `own`."""
    from streamproof.report import render  # noqa: PLC0415 - keeps --help fast

    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)
    if own and not (folder / render.RESULTS_NAME).exists():
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # only an empty one goes


def _tell(results: Results, parts: Sequence[Ended], folder: Path, *, as_json: bool) -> ExitCode:
    """Say what was found, and answer the exit code of everything."""
    from streamproof.parts import code_of  # noqa: PLC0415 - keeps --help fast
    from streamproof.report import render, words  # noqa: PLC0415 - keeps --help fast

    for part in parts:
        if part.results is None:
            note(f"{part.name} left no results: {part.last_line}")
    if as_json:
        say(results.to_json())
    else:
        say(words.closing(results))
        say(str(folder / render.HTML_NAME))
    return ExitCode.worst([results.exit_code, code_of(parts)])
