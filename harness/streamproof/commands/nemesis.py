"""`streamproof nemesis`: the reference under faults of its environment, with real processes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime
import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamproof.errors import ExitCode, UsageError
from streamproof.terminal import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from streamproof.nemesis.schedule import Options
    from streamproof.results import NemesisResult, SeedResult

HELP = "kill, pause and cut off the reference while it works, and judge it"
EXAMPLES = """
streamproof nemesis                            one seed: 1000 requests, ten kills, a pause
streamproof nemesis --seeds 20                 the documented run
streamproof nemesis --seed 7 --requests 200 --kills 3   a smaller run of another seed
streamproof nemesis --kills 0 --pauses 0 --disconnects 20   clients alone
"""
TARGET = "embedded"
LOG_LEVEL = "STREAMER_LOG_LEVEL"
SEEDS_MAX = 10_000
SEED_MAX = 2**32 - 1
WITHIN_S = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--target", default=TARGET, metavar="T", help="only `embedded`: others are never harmed"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many (default 1)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="the first (default 1)")
    faults = parser.add_argument_group("what happens in each seed")
    for option, default, text in (
        ("--requests", 1000, "long requests"),
        ("--kills", 10, "workers killed by SIGKILL"),
        ("--pauses", 1, "workers stopped past their lease and continued"),
        ("--duplicates", 2, "how often each stream record is delivered"),
        ("--disconnects", 4, "clients that are cut off and come back"),
        ("--clients", 8, "connections that the requests are spread over"),
    ):
        faults.add_argument(
            option, type=int, default=default, metavar="N", help=f"{text} (default {default})"
        )
    faults.add_argument(
        "--error-rate",
        type=float,
        default=0.1,
        metavar="X",
        help="share of posts that are answered 429, and as many 500 (default 0.1)",
    )
    faults.add_argument(
        "--slow-rate",
        type=float,
        default=0.02,
        metavar="X",
        help="share of posts that are taken late (default 0.02)",
    )
    parser.add_argument(
        "--within",
        type=float,
        default=WITHIN_S,
        metavar="S",
        help=f"a seed that takes longer has no verdict (default {WITHIN_S:g} s)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: reports/RUN")
    parser.add_argument("--json", action="store_true", help="print results.json instead of words")


def run(args: argparse.Namespace) -> ExitCode:
    """Run the seeds one after the other; 1 when one broke a promise, 3 when one shows nothing."""
    options = _options(args)
    from streamproof import runs  # noqa: PLC0415 - keeps --help fast
    from streamproof.report import progress, render  # noqa: PLC0415 - likewise
    from streamproof.results import NemesisResult, Results  # noqa: PLC0415 - likewise

    started = datetime.datetime.now(datetime.UTC)
    begun_s = time.monotonic()
    run_id = runs.run_id(started, "nemesis")
    folder = runs.folder_for(run_id, args.out)
    seeds: list[SeedResult] = []
    with _quiet(), progress.shown("nemesis") as show:
        for seed in range(args.seed, args.seed + args.seeds):
            seeds.append(_seed(options, seed, folder, args.within, show))
            show(line(seeds[-1]))
    duration_s = time.monotonic() - begun_s
    words = ["nemesis", "--seeds", str(args.seeds), "--seed", str(args.seed), *_words(options)]
    target: dict[str, Any] = {"name": TARGET, "url": "", "environment": None, "capabilities": []}
    info = runs.run_info(run_id, words, started, duration_s, target)
    found = NemesisResult(dataclasses.asdict(options), round(duration_s, 1), tuple(seeds))
    results = Results(run=info, nemesis=found)
    results.write(folder / render.RESULTS_NAME)
    if args.out is None:
        runs.point_latest(folder)
    if args.json:
        say(results.to_json())
    else:
        for text in (*table(found), *_troubles(found), closing(found), _next(folder)):
            say(text)
    return results.exit_code


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what is injected on purpose: it is no news."""
    log, level = logging.getLogger("streamproof"), os.environ.get(LOG_LEVEL)
    before = log.level
    os.environ[LOG_LEVEL] = "error"
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
        os.environ.pop(LOG_LEVEL)
        if level is not None:
            os.environ[LOG_LEVEL] = level


def _seed(
    options: Options, seed: int, folder: Path, within_s: float, show: Callable[[str], None]
) -> SeedResult:
    from streamproof import runs  # noqa: PLC0415 - keeps --help fast
    from streamproof.nemesis.run import run_seed  # noqa: PLC0415 - the extra [serve]

    command = runs.command_line(["nemesis", "--seed", str(seed), *_words(options)])
    own = folder / f"seed-{seed}"
    own.mkdir(exist_ok=True)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(
                run_seed(
                    options,
                    seed,
                    own,
                    command,
                    lambda text: show(f"seed {seed}  {text}"),
                    within_s=within_s,
                )
            )
    except BaseException:
        _tidy(own)
        raise


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The loop that `serve` runs on, where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - optional, and not on every system
    except ImportError:
        return None
    return uvloop.new_event_loop


def _tidy(folder: Path) -> None:
    """Remove what a cut-short seed left, and the folder of the run when that was all."""
    from streamproof.nemesis.run import HISTORY_NAME  # noqa: PLC0415 - keeps --help fast

    with contextlib.suppress(OSError):
        (folder / HISTORY_NAME).unlink(missing_ok=True)
        folder.rmdir()
        folder.parent.rmdir()


def _options(args: argparse.Namespace) -> Options:
    """The options, each within its bounds; `UsageError` names the one that is not."""
    if args.target != TARGET:
        raise UsageError(
            f"nemesis does not harm {args.target}",
            "it needs a gateway and workers of its own: --target embedded, the default",
        )
    if sys.platform == "win32":
        raise UsageError("nemesis needs SIGKILL and SIGSTOP", "run it on Linux or macOS")
    for name, low, high in (
        ("seeds", 1, SEEDS_MAX),
        ("seed", 0, SEED_MAX),
        ("requests", 1, 100_000),
        ("kills", 0, 1_000),
        ("pauses", 0, 10),
        ("duplicates", 1, 10),
        ("disconnects", 0, 1_000),
        ("clients", 1, 100),
        ("error_rate", 0.0, 0.3),
        ("slow_rate", 0.0, 0.3),
        ("within", 1.0, 86_400.0),
    ):
        value = getattr(args, name)
        if not low <= value <= high:
            raise UsageError(
                f"--{name.replace('_', '-')} {value} is out of range", f"give {low} to {high}"
            )
    from streamproof.nemesis.schedule import Options  # noqa: PLC0415 - keeps --help fast

    return Options(
        **{field.name: getattr(args, field.name) for field in dataclasses.fields(Options)}
    )


def _words(options: Options) -> list[str]:
    """The options that differ from the defaults, as words of a command line."""
    from streamproof.nemesis.schedule import Options as Defaults  # noqa: PLC0415 - keeps --help fast

    usual = dataclasses.asdict(Defaults())
    return [
        word
        for name, value in dataclasses.asdict(options).items()
        if value != usual[name]
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


COLUMNS: Sequence[tuple[str, Callable[[SeedResult], Any]]] = (
    ("seed", lambda s: s.seed),
    ("sent", lambda s: s.counts["sent"]),
    ("acknowledged", lambda s: s.counts["acknowledged"]),
    ("refused", lambda s: s.counts["refused"]),
    ("never accepted", lambda s: s.counts["never accepted"]),
    ("lost", lambda s: s.counts["lost"]),
    ("second outcomes", lambda s: s.counts["second outcomes"]),
    ("PROCESSING_FAILED", lambda s: s.counts["PROCESSING_FAILED"]),
    ("violations", lambda s: len(s.violations)),
    ("kills", lambda s: s.faults.get("kill", 0)),
    ("pauses", lambda s: s.faults.get("pause", 0)),
    ("takeovers", lambda s: s.faults.get("takeovers", 0)),
    ("429 / 500 of posts", lambda s: _of_posts(s.faults)),
    ("records delivered / replayed", lambda s: _of_records(s.faults)),
    ("seconds", lambda s: s.duration_s),
)


def _of_posts(faults: dict[str, int]) -> str:
    refused = [faults.get(f"posts answered {status}", 0) for status in (429, 500)]
    return f"{refused[0]} / {refused[1]} of {faults.get('posts', 0)}"


def _of_records(faults: dict[str, int]) -> str:
    brought = [faults.get(f"records {how}", 0) for how in ("delivered", "replayed")]
    return f"{brought[0]} / {brought[1]} of {faults.get('records', 0)}"


def table(found: NemesisResult) -> list[str]:
    """One row a seed, as Markdown."""
    rows = [[name for name, _ in COLUMNS], ["---"] * len(COLUMNS)]
    rows += [[str(cell(seed)) for _, cell in COLUMNS] for seed in found.seeds]
    return [f"| {' | '.join(row)} |" for row in rows]


def line(seed: SeedResult) -> str:
    """How a seed ended, in a line."""
    verdict = {ExitCode.HOLDS: "holds", ExitCode.BROKEN: "VIOLATED"}.get(
        seed.exit_code, f"no verdict: {seed.reason}"
    )
    counts = seed.counts
    return (
        f"seed {seed.seed}: {verdict}; {counts['acknowledged']} acknowledged, "
        f"{counts['lost']} lost, {counts['second outcomes']} second outcomes, "
        f"{counts['PROCESSING_FAILED']} PROCESSING_FAILED, {seed.duration_s:g} s"
    )


def _troubles(found: NemesisResult) -> list[str]:
    lines: list[str] = []
    for seed in found.seeds:
        if seed.violations:
            lines.append(f"seed {seed.seed} VIOLATED, replay: {seed.command}")
            lines += [f"  {violation[:400]}" for violation in seed.violations[:20]]
            lines += [f"    {text}" for text in seed.witness]
        elif seed.reason:
            lines.append(f"seed {seed.seed} no verdict: {seed.reason}")
    return lines


def _next(folder: Path) -> str:
    """What there is to open."""
    return f"{folder} has results.json; streamproof report {folder} makes a page of it"


def closing(found: NemesisResult) -> str:
    """The closing sentence, with the bound that the count allows."""
    acknowledged = sum(seed.counts["acknowledged"] for seed in found.seeds)
    lost = sum(seed.counts["lost"] for seed in found.seeds)
    second = sum(seed.counts["second outcomes"] for seed in found.seeds)
    failed = sum(seed.counts["PROCESSING_FAILED"] for seed in found.seeds)
    ended = {ExitCode.HOLDS: "The target holds", ExitCode.BROKEN: "The target does not hold"}
    verdict = ended.get(found.exit_code, "There is no verdict")
    seeds = f"{len(found.seeds)} seed{'s' if len(found.seeds) != 1 else ''}"
    bound = f" (0 of {acknowledged:,}: below {3 / acknowledged:.2%} at 95 %)"
    return (
        f"{verdict}: {acknowledged:,} acknowledged requests on {seeds}, "
        f"{lost} lost, {second} second outcomes, {failed} PROCESSING_FAILED"
        f"{bound if acknowledged and not lost + second + failed else ''}."
    )
