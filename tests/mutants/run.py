"""Plant each mutant in a process of its own and run the tests that must refuse it.

    python tests/mutants/run.py [NAME ...]    judge all mutants, or these
    python tests/mutants/run.py --find NAME   every test near it that fails with this mutant
    python tests/mutants/run.py --page        write docs/rules.md again

The parent imports what the tests need and forks, so that a mutant costs a few tenths of a second.
Only a test that fails by itself refuses a mutant: one that this program has to end, because it
waits for ever, would hang under pytest alone, and is told apart as killed by the clock.
Exit 1 when a mutant survives, the clock kills one or the tests fail without one, 2 where a process
cannot be forked.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from streamproof.targets.mutants import MUTANTS, planted  # noqa: E402 - after the path
from support.mutant_kills import KILLS  # noqa: E402 - found by the path
from support.rules_page import PAGE, page  # noqa: E402 - as above

LIMIT_S = 60.0  # of one mutant's tests
UNHARMED_LIMIT_S = 300.0  # of all tests without a mutant
TEST_LIMIT_S = 30.0  # of one test, with a mutant and without: each ends its own waits before
AT_ONCE = (os.cpu_count() or 1) + 2  # some only wait
# What a test says when it refuses something; anything else is a mutant that broke in itself.
REFUSALS = (
    "AssertionError",
    "ConnectionClosedError",
    "DeadlockError",
    "Failed",
    "InvalidStatus",
    "JSONDecodeError",
    "TimeoutError",
    "WrongError",
)
MISSING = ("KeyError", "IndexError", "ValueError", "StopIteration")  # where the test looks
FIND_LIMIT_S = 300.0
_REQUESTS = "test_router test_worker test_actions test_sweeper core"
PLACES = {  # where `--find` looks, by section: below tests/reference, or in the gateway's tests
    1: "test_auth lambdas test_router test_services test_sweeper test_actions test_settings",
    2: "protocol handlers/test_registry handlers/test_echo test_services " + _REQUESTS,
    3: "lambdas test_settings " + _REQUESTS,
    4: "connection/test_manager test_services core test_actions",
    5: "test_settings " + _REQUESTS,
    6: "",
    7: "observability lambdas test_settings connection/test_manager " + _REQUESTS,
}
ALREADY_IMPORTED = "ignore::pytest.PytestAssertRewriteWarning"  # the package is pytest's plugin too
OPTIONS = ("-q", "-p", "no:cacheprovider", "-W", ALREADY_IMPORTED, "--rootdir", str(ROOT))


@dataclasses.dataclass
class Verdict:
    """How the tests of one mutant ended."""

    refused_by: list[str] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)
    by_the_clock: list[str] = dataclasses.field(default_factory=list)  # ended from outside
    passed: int = 0
    seconds: float = 0.0


class TimeIsUpError(Exception):
    """A test waited for something that did not come."""


def _hang(*_: object) -> None:
    raise HangError


class HangError(KeyboardInterrupt):
    """A test took longer than any test may."""


class Judge:
    """Notes what each test did, and ends one that hangs."""

    def __init__(self) -> None:
        self.verdict = Verdict()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Any:
        signal.signal(signal.SIGALRM, _hang)
        signal.setitimer(signal.ITIMER_REAL, TEST_LIMIT_S, 1.0)
        try:
            return (yield)
        except HangError:
            raise TimeIsUpError from None
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        if report.passed and report.when == "call":
            self.verdict.passed += 1
        if report.failed and call.excinfo is not None:
            if isinstance(call.excinfo.value, TimeIsUpError):
                self.verdict.by_the_clock.append(item.nodeid)
            elif report.when == "call" and is_refusal(call.excinfo):
                self.verdict.refused_by.append(item.nodeid)
            else:
                kind = call.excinfo.type.__name__
                self.verdict.broken.append(f"{item.nodeid}: {kind} in {report.when}")
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.verdict.broken.append(f"{report.nodeid} cannot be collected")


def is_refusal(failure: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether a test found something wrong, or what it looked for was not there."""
    errors: list[BaseException] = [failure.value]
    while isinstance(errors[0], BaseExceptionGroup):
        errors[:1] = errors[0].exceptions
    kinds = {type(error).__name__ for error in errors}
    looked_here = "/tests/" in str(failure.traceback[-1].path)
    return bool(kinds & {*REFUSALS}) or (looked_here and bool(kinds & {*MISSING}))


def run_tests(name: str | None, tests: Iterable[str], *, first: bool) -> Verdict:
    """Run tests in this process, with a mutant or without one."""
    judge = Judge()
    arguments = [
        *OPTIONS,
        *(["-x"] if first else []),
        *(str(ROOT / "tests" / test) for test in tests),
    ]
    began_s = time.monotonic()
    try:
        with planted(name) if name is not None else contextlib.nullcontext():
            pytest.main(arguments, plugins=[judge])
    except Exception as error:  # noqa: BLE001 - an error at the end leaves what was judged before
        judge.verdict.broken.append(f"{type(error).__name__}: {error}")
    judge.verdict.seconds = time.monotonic() - began_s
    return judge.verdict


def warm_up() -> None:
    """Import what the tests import, once for all children."""
    for package in ("streamer_reference", "streamproof.gateway", "streamproof.targets"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith(("__main__", "mutants.worker")):
                importlib.import_module(module.name)
    files = {
        str(ROOT / "tests" / test.partition("::")[0]) for tests in KILLS.values() for test in tests
    }
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main([*OPTIONS, "--collect-only", *sorted(files)])


@dataclasses.dataclass
class Child:
    """A process that runs one mutant's tests and writes a verdict."""

    name: str | None
    process_id: int
    pipe: int
    began_s: float
    text: bytes = b""


def start(name: str | None, tests: Iterable[str], *, first: bool) -> Child:
    """Fork; the child never comes back."""
    reading, writing = os.pipe()
    process_id = os.fork()
    if process_id:
        os.close(writing)
        return Child(name, process_id, reading, time.monotonic())
    os.close(reading)
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    try:
        verdict = run_tests(name, tests, first=first)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
        verdict = Verdict(broken=[f"{type(error).__name__}: {error}"])
    with os.fdopen(writing, "wb") as out:
        out.write(json.dumps(dataclasses.asdict(verdict)).encode())
    os._exit(0)


def judge_all(
    jobs: list[tuple[str | None, tuple[str, ...]]],
    *,
    first: bool,
    told: Any,
    limit_s: float = LIMIT_S,
) -> dict[str | None, Verdict]:
    """Run jobs, as many at once as there are processors; `told` hears of each verdict."""
    verdicts: dict[str | None, Verdict] = {}
    waiting, running = list(jobs)[::-1], {}
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            name, tests = waiting.pop()
            child = start(name, tests, first=first)
            running[child.pipe] = child
        ready, _, _ = select.select(list(running), [], [], 0.5)
        for pipe in ready:
            child = running[pipe]
            piece = os.read(pipe, 65_536)
            child.text += piece
            if not piece:
                verdicts[child.name] = told(child.name, finish(running.pop(pipe)))
        for child in running.values():
            most_s = UNHARMED_LIMIT_S if child.name is None else limit_s
            if time.monotonic() - child.began_s > most_s:
                os.killpg(child.process_id, signal.SIGKILL)
    return verdicts


def finish(child: Child) -> Verdict:
    """The verdict of a child that has ended."""
    os.close(child.pipe)
    os.waitpid(child.process_id, 0)
    seconds = time.monotonic() - child.began_s
    if not child.text:
        return Verdict(by_the_clock=[f"no verdict after {seconds:.0f} s"], seconds=seconds)
    return Verdict(**json.loads(child.text))


def judge_again(
    jobs: list[tuple[str | None, tuple[str, ...]]], verdicts: dict[str | None, Verdict]
) -> None:
    """Run once more, alone, what the clock ended: the machine may have been busy."""
    for name, tests in jobs:
        if verdicts[name].by_the_clock:
            alone = judge_all([(name, tests)], first=True, told=lambda _name, verdict: verdict)
            verdicts.update(alone)


def table(verdicts: dict[str | None, Verdict]) -> tuple[int, int]:
    """Print rule, mutant, test and time, and then who is not refused; how many of each kind.

    Those that the clock killed, and those that survived.
    """
    left, late = [], 0
    for name, mutant in MUTANTS.items():
        if (verdict := verdicts.get(name)) is None:
            continue
        by = ", ".join(short(test) for test in verdict.refused_by)
        if not by:
            how = "killed by the clock" if verdict.by_the_clock else "survives"
            late += bool(verdict.by_the_clock)
            left.append((how, name, verdict))
        rules = " ".join(mutant.rules)
        print(f"{rules:18} {name:38} {verdict.seconds:5.2f} s  {by or how.upper()}")  # noqa: T201 - a table for people
    for how, name, verdict in left:
        print(f"{how}: {name}: {MUTANTS[name].sentence}")  # noqa: T201 - as above
        for test in [*verdict.by_the_clock, *verdict.broken]:
            print(f"    {test}")  # noqa: T201 - as above
    return late, len(left) - late


def short(test: str) -> str:
    """A test's file and name."""
    return test.rsplit("/", 1)[-1]


def main() -> int:
    """Judge the mutants."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--find", action="store_true")
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    if options.page:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if not hasattr(os, "fork"):
        print("this system cannot fork")  # noqa: T201 - as above
        return 2
    os.chdir(ROOT)
    began_s = time.monotonic()
    names = options.names or list(MUTANTS)
    warm_up()
    if options.find:
        return find(names)
    baseline = tuple(sorted({test for name in names for test in KILLS.get(name, ())}))
    jobs: list[tuple[str | None, tuple[str, ...]]] = [(None, baseline)]
    jobs += [(name, KILLS.get(name, ())) for name in names if KILLS.get(name)]
    verdicts = judge_all(jobs, first=True, told=lambda _name, verdict: verdict)
    judge_again(jobs, verdicts)
    unharmed = verdicts.pop(None)
    verdicts.update({name: Verdict() for name in names if name not in verdicts})
    late, survivors = table(verdicts)
    seconds = time.monotonic() - began_s
    failing = unharmed.refused_by + unharmed.broken + unharmed.by_the_clock
    print(  # noqa: T201 - as above
        f"{len(verdicts)} mutants: {len(verdicts) - late - survivors} refused, {late} killed by "
        f"the clock, {survivors} survive; without a mutant {unharmed.passed} tests pass and "
        f"{len(failing)} fail; {seconds:.0f} s"
    )
    for test in failing:
        print(f"fails without a mutant: {test}")  # noqa: T201 - as above
    return 1 if late or survivors or failing else 0


def find(names: list[str]) -> int:
    """Print every test that fails with each mutant."""

    def told(name: str, verdict: Verdict) -> Verdict:
        print(f"{name}  ({verdict.seconds:.1f} s)", flush=True)  # noqa: T201 - as above
        odd = verdict.by_the_clock + verdict.broken
        for test in [*verdict.refused_by, *(f"! {test}" for test in odd)]:
            print(f"    {test}", flush=True)  # noqa: T201 - as above
        return verdict

    judge_all(
        [(name, place_of(name)) for name in names], first=False, told=told, limit_s=FIND_LIMIT_S
    )
    return 0


def place_of(name: str) -> tuple[str, ...]:
    """Where the tests are that could refuse a mutant."""
    from streamproof.contract.rules import RULES

    sections = {RULES[rule] for rule in MUTANTS[name].rules}
    if 6 in sections:
        return ("harness/gateway",)
    found = [ROOT / "tests/reference" / p for s in sections for p in PLACES[s].split()]
    return tuple(
        str((path if path.is_dir() else path.with_suffix(".py")).relative_to(ROOT / "tests"))
        for path in dict.fromkeys(found)
    )


if __name__ == "__main__":
    sys.exit(main())
