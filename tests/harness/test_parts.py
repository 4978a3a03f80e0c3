"""A part of a run as a program of its own: what it tells, what it leaves, and that it ends."""

from __future__ import annotations

import sys

import pytest

from streamproof import parts
from streamproof.errors import ExitCode
from support.sample_results import sample_results

# A part that does what its first word says and writes results where --out points.
FAKE = """
import pathlib, signal, sys, time
name, *words, _, out = sys.argv[1:]
folder = pathlib.Path(out)
print("product", flush=True)
if "results" in words:
    (folder / "results.json").write_text(pathlib.Path(words[-1]).read_text())
if "stubborn" in words:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if "wait" in words:
    try:
        print("began", file=sys.stderr, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)
print("began", file=sys.stderr, flush=True)
sys.exit(int(words[0]))
"""


@pytest.fixture
def program(tmp_path):
    """The words that start the fake part."""
    file = tmp_path / "fake.py"
    file.write_text(FAKE)
    return (sys.executable, str(file))


def test_a_part_is_heard_and_its_results_are_read(tmp_path, program):
    """Lines on standard error are shown as they come; standard output is not."""
    source = tmp_path / "source.json"
    sample_results().write(source)
    shown: list[str] = []
    ended = parts.run("load", ["0", "results", str(source)], tmp_path, shown.append, 30.0, program)
    assert shown == ["began"]
    assert ended.code == 0
    assert ended.results == sample_results()
    assert ended.last_line == "began"


def test_a_part_without_results_says_its_last_line(tmp_path, program):
    """A part that failed leaves its code and what it said last."""
    ended = parts.run("load", ["2"], tmp_path, lambda line: None, 30.0, program)
    assert (ended.code, ended.results, ended.tail) == (2, None, ("began",))
    assert parts.Ended("x", 1, None, ()).last_line == "it printed nothing"


def test_a_part_that_takes_too_long_is_interrupted(tmp_path, program, monkeypatch):
    """The time limit does what Ctrl-C does, so that the part can still tidy up."""
    timers = []

    class Timer:
        """A timer that the test lets go off."""

        def __init__(self, interval, function, args):
            self.interval, self.go_off = interval, lambda: function(*args)
            timers.append(self)

        def start(self):
            pass

        def cancel(self):
            pass

    monkeypatch.setattr(parts.threading, "Timer", Timer)

    def show(line):
        if line == "began":
            timers[0].go_off()

    ended = parts.run("load", ["0", "wait"], tmp_path, show, 30.0, program)
    assert timers[0].interval == 30.0
    assert ended.code == ExitCode.INTERRUPTED


def test_an_interrupt_is_passed_on_and_raised_again(tmp_path, program):
    """Ctrl-C ends the part and then us; nothing is left running."""

    def show(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.run("load", ["0", "wait"], tmp_path, show, 30.0, program)


def test_a_stubborn_part_is_killed(tmp_path, program, monkeypatch):
    """A part that ignores the interrupt does not outlive us."""
    monkeypatch.setattr(parts, "STOP_TIMEOUT_S", 0.2)

    def show(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        parts.run("load", ["0", "wait", "stubborn"], tmp_path, show, 30.0, program)


def test_what_a_part_left_is_gathered(tmp_path):
    """Files move beside the run's own; a name that is taken gets the part's name in front."""
    part = tmp_path / ".parts" / "load"
    part.mkdir(parents=True)
    for name in ("results.json", "report.html", "junit.xml", "history.ndjson", "request.hgrm"):
        (part / name).write_text(name)
    (part / "folder").mkdir()
    (tmp_path / "history.ndjson").write_text("the contract's")
    parts.gather(part, tmp_path)
    found = sorted(file.name for file in tmp_path.iterdir() if file.is_file())
    assert found == ["history.ndjson", "load-history.ndjson", "request.hgrm"]
    assert not part.exists()
    parts.gather(part, tmp_path)


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([], 3),
        ([0, 0], 0),
        ([0, 1], 1),
        ([3, 1], 1),
        ([2, 1], 2),
        ([-9, 0], 3),
        ([130, 2], 130),
    ],
)
def test_codes_of_parts_together(codes, code):
    """One code stands for all parts; a code that nobody knows is no verdict."""
    ended = [parts.Ended("x", each, sample_results(), ()) for each in codes]
    assert parts.code_of(ended) == code


def test_success_without_results_is_no_verdict():
    """A part that says all is well and left nothing proved nothing."""
    assert parts.code_of([parts.Ended("x", 0, None, ())]) is ExitCode.NO_VERDICT
