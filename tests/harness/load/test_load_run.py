"""Locust as people run it, for a few seconds, against servers that are slow or wrong on purpose.

Importing locust patches a process, so nothing here imports it: everything is seen from outside.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streamproof.results import LoadVerdict, Results

ROOT = Path(__file__).resolve().parents[3]
SERVER = ROOT / "tests" / "support" / "echo_streamer.py"
TIMEOUT_S = 90

# A target of seconds on the median: a machine that is busy with other tests still passes it.
SCENARIO = '''
from streamproof.load.user import Poisson, StreamUser, operation

class Request(StreamUser):
    """Short and quick to measure."""

    connections = 2
    arrivals = Poisson(rate_per_s=100)
    settle_s = 0.1
    warm_up_s = 1
    measure_s = {"full": 6, "smoke": 5}
    calibrate_s = {"full": 1, "smoke": 1}
    time_limit_s = 1.0
    latency_ms = "p(50) < 10000"

    @operation
    def echo(self) -> None:
        self.short({"nonce": self.nonce()})
'''

CLOSED_LOOP = """
from locust import constant, task
from streamproof.load.user import StreamUser

class Visitor(StreamUser):
    wait_time = constant(0.1)

    @task
    def echo(self) -> None:
        value = self.request("echo", {"text": "hello"}).result(timeout_s=1)
        assert value == {"text": "hello"}, value
"""


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    output: str
    results: Results | None

    @property
    def scenario(self):
        """The one scenario."""
        assert self.results is not None, self.output
        assert self.results.load is not None
        return self.results.load.scenarios[0]

    def quantile_ms(self, curve, share):
        """A quantile of one curve."""
        points = next(c.points for c in self.scenario.curves if c.name == curve)
        return next(ms for quantile, ms in points if quantile >= share)


def environment():
    """This process's environment with our packages on the path and no settings of its own."""
    paths = [str(ROOT / "reference"), str(ROOT / "harness")]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("STREAMPROOF_")}
    return inherited | {"PYTHONPATH": os.pathsep.join(paths)}


def words(folder, *options, text=SCENARIO):
    """The command line of a run of `text` as a locustfile in `folder`."""
    file = folder / "locustfile.py"
    file.write_text(text, encoding="utf-8")
    return [
        *(sys.executable, "-m", "locust", "-f", str(file), "--headless", "--loglevel", "ERROR"),
        *("--out", str(folder / "run"), *options),
    ]


def server(*options):
    """The target that starts the test server."""
    return f"cmd:{sys.executable} {SERVER} {' '.join(map(str, options))}"


@dataclasses.dataclass
class Started:
    """A run under way."""

    process: subprocess.Popen
    folder: Path

    def ended(self):
        """Wait for its end."""
        code = self.process.wait(TIMEOUT_S)
        path = self.folder / "run" / "results.json"
        output = (self.folder / "output").read_text(encoding="utf-8")
        return Ended(code, output, Results.read(path) if path.exists() else None)


def start(folder, *options, text=SCENARIO):
    """Begin a run in a folder of its own."""
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            words(folder, *options, text=text),
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Started(process, folder)


def assert_not_blamed(ended):
    """The target passes; on a machine that is busy with others the generator says so instead."""
    assert ended.results is not None, ended.output
    assert ended.results.load is not None
    verdict = ended.scenario.targets[0].verdict
    assert verdict in (LoadVerdict.PASS, LoadVerdict.INVALID), ended.output
    assert ended.code == ended.results.exit_code == (0 if verdict is LoadVerdict.PASS else 3)


DYING = SCENARIO.replace("p(50) < 10000", "p(50) < 100")
FAULTS = ("lose", "wrong", "refuse", "fail", "repeat", "garble")
REMOTE = ("--target", "ws://203.0.113.1/dev")  # refused before anything is sent there
RUNS = {
    "stall": ("--rate", "200", "--target", server("--stall-every-s", 3, "--stall-s", 0.5)),
    "embedded": ("--size", "smoke"),
    "faults": ("--target", server("--every", 15, "--faults", *FAULTS)),
    "absent": ("--host", "ws://127.0.0.1:1/dev"),
    "mute": ("--target", server("--mute"), "-t", "60s"),
    "no target": ("--target", "nowhere"),
    "too much for remote": (*REMOTE, "--environment", "dev", "--rate", "1000", "-t", "600s"),
    "production": (*REMOTE, "--environment", "production"),
    "closed loop remote": (*REMOTE, "--environment", "dev"),
    "dropped": ("--target", server("--every", 25, "--faults", "drop"), "-t", "3s"),
    "dies": ("--target", server("--die-after", 200), "-t", "6s"),
    "closed loop": ("--target", server(), "--token", "any", "-u", "2", "-t", "2s"),
    "closed loop refused": (
        *("--target", server("--every", 2, "--faults", "refuse", "drop")),
        *("-u", "2", "-t", "2s"),
    ),
    "closed loop unanswered": ("--target", server("--mute"), "-u", "1", "-t", "3s"),
}


TEXTS = {"closed": CLOSED_LOOP, "dies": DYING}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """All of them begun at once, since each mostly waits; whatever still runs is ended."""
    started = {
        name: start(
            tmp_path_factory.mktemp("run"),
            *options,
            text=TEXTS.get(name.partition(" ")[0], SCENARIO),
        )
        for name, options in RUNS.items()
    }
    yield started
    for run in started.values():
        if run.process.poll() is None:
            run.process.terminate()
            run.process.wait(TIMEOUT_S)


def gone(pid):
    """Whether a process has ended and was waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_stall_shows_in_the_corrected_latency_only(runs):
    """A server that stalls half a second in three: the plan sees it, a closed loop does not."""
    ended = runs["stall"].ended()
    assert_not_blamed(ended)
    # A sixth of the arrivals fall into stalls and wait evenly from 0 to 500 ms: p99 is 470 ms.
    assert ended.quantile_ms("corrected", 0.99) == pytest.approx(470, rel=0.15)
    # Two connections notice a stall once each, four of twelve hundred requests: p99 misses them.
    assert ended.quantile_ms("uncorrected", 0.99) < 100
    assert ended.quantile_ms("calibration", 0.99) < 100
    assert ended.scenario.counts["answered"] == ended.scenario.counts["sent"]
    assert ended.scenario.violations == ()
    assert len(ended.scenario.seconds) == 6
    assert 'request.latency_ms = "p(50) < 10000"  measured' in ended.output


def test_every_kind_of_wrong_answer_is_counted_and_fails_the_run(runs):
    """Lost, repeated, wrong and garbled answers are violations, and so are errors by code."""
    ended = runs["faults"].ended()
    counts = ended.scenario.counts
    assert ended.code == 1, ended.output
    assert counts["sent"] == counts["answered"] + counts["refused"] + counts["indeterminate"]
    assert counts["sent"] > 400
    assert min(counts[name] for name in ("lost", "repeated", "wrong", "refused")) > 0
    # A repeat and a garbled message stand in for an answer, which is then lost.
    assert counts["lost"] > counts["repeated"]
    assert any("were refused: RATE_LIMITED" in words for words in ended.scenario.violations)
    assert any("TIMEOUT" in words for words in ended.scenario.violations)
    assert any("expected" in words for words in ended.scenario.violations)
    assert any("no answer came" in words for words in ended.scenario.violations)


def measured_until(process, second):
    """Read progress up to a second of the measurement."""
    for line in process.stdout:
        if line.startswith('{"progress"'):
            progress = json.loads(line)["progress"]
            if progress["phase"] == "measure" and progress["second"] == second:
                return


@pytest.mark.parametrize(("sent", "second"), [(signal.SIGINT, 6), (signal.SIGTERM, 2)])
def test_an_interrupted_run_judges_what_it_measured(tmp_path, sent, second):
    """Ctrl-C or SIGTERM ends the phase, gives a verdict, and leaves no process behind."""
    pid_file = tmp_path / "pid"
    argv = words(tmp_path, "--target", server("--pid-file", pid_file), "-t", "60s")
    with subprocess.Popen(
        argv,
        cwd=tmp_path,
        env=environment() | {"STREAMPROOF_PROGRESS": "json"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        measured_until(process, second)
        process.send_signal(sent)
        output = process.stdout.read()
        code = process.wait(TIMEOUT_S)
    ended = Ended(code, output, Results.read(tmp_path / "run" / "results.json"))
    assert second - 1 <= len(ended.scenario.seconds) <= second + 2
    if second > 5:
        assert_not_blamed(ended)
    else:
        assert code == 3
    assert any("interrupted" in words for words in ended.results.load.not_shown)
    assert gone(int(pid_file.read_text(encoding="ascii")))


def test_an_interruption_before_the_measurement_has_no_verdict(tmp_path):
    """Ctrl-C while calibrating: 130, no results, nothing left running."""
    pid_file = tmp_path / "pid"
    argv = words(tmp_path, "--target", server("--pid-file", pid_file), "-t", "60s")
    with subprocess.Popen(
        argv,
        cwd=tmp_path,
        env=environment() | {"STREAMPROOF_PROGRESS": "json"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith('{"progress"'))
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(TIMEOUT_S) == 130
    assert not (tmp_path / "run" / "results.json").exists()
    assert gone(int(pid_file.read_text(encoding="ascii")))


def test_connections_that_the_target_drops_are_opened_again(runs):
    """What was under way is unknown and not lost; the plan goes on over a new connection."""
    ended = runs["dropped"].ended()
    counts = ended.scenario.counts
    assert counts["reconnects"] > 0
    assert counts["indeterminate"] > 0
    assert (counts["lost"], counts["wrong"], counts["repeated"]) == (0, 0, 0)
    assert counts["sent"] + counts["failed_to_send"] == counts["intended"]
    assert counts["intended"] == counts["answered"] + counts["indeterminate"]
    assert ended.code == 1
    (words,) = ended.scenario.violations
    assert "have no known outcome: " in words
    assert "connection lost (" in words
    assert ended.results.run.command.endswith("--size full --seed 1 --seconds 3")


def test_a_target_that_dies_under_load_fails(runs):
    """It drops everybody and shakes no more hands: exit 1, and every arrival has its place."""
    ended = runs["dies"].ended()
    counts = ended.scenario.counts
    assert ended.code == 1, ended.output
    assert ended.scenario.targets[0].verdict is LoadVerdict.FAIL
    assert counts["failed_to_send"] > 200
    assert counts["sent"] + counts["failed_to_send"] == counts["intended"]
    assert counts["answered"] + counts["indeterminate"] == counts["intended"]
    assert sum(second["count"] for second in ended.scenario.seconds) == counts["intended"]


def test_a_target_that_is_not_there_is_one_clear_line(runs):
    """No server: exit 2, the address, no results."""
    ended = runs["absent"].ended()
    assert ended.code == 2
    assert "streamproof: no connection to ws://127.0.0.1:1/dev" in ended.output
    assert "Traceback" not in ended.output
    assert ended.results is None
    assert not (runs["absent"].folder / "run").exists()


def test_a_target_that_never_answers_is_told_within_seconds(runs):
    """A server that takes every request and says nothing: exit 2 and a hint, no long run."""
    ended = runs["mute"].ended()
    assert ended.code == 2
    assert "answered none of" in ended.output


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no target", "no such target"),
        ("too much for remote", "a remote target allows 100,000"),
        ("production", "load is not run on production"),
        ("closed loop remote", "visitor has no schedule"),
    ],
)
def test_wrong_words_end_before_anything_starts(runs, name, said):
    """A target that is none, a rate that a stranger's host may not get: exit 2 each."""
    ended = runs[name].ended()
    assert ended.code == 2, ended.output
    assert said in ended.output
    assert "Traceback" not in ended.output


def test_a_user_without_a_plan_is_any_locust_user(runs):
    """Locust's tasks, wait times and exit code, on our connection and target."""
    ended = runs["closed loop"].ended()
    assert ended.code == 0, ended.output
    assert ended.results is None
    assert " 0(0.00%)" in ended.output


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("closed loop refused", "RATE_LIMITED"),
        ("closed loop refused", "connection lost"),
        ("closed loop unanswered", "no answer in time"),
    ],
)
def test_a_user_without_a_plan_sees_why_there_is_no_answer(runs, name, said):
    """`result` raises with the code, the lost connection, or the time that ran out."""
    ended = runs[name].ended()
    assert ended.code == 1, ended.output
    assert said in ended.output


def test_the_embedded_stack_is_started_measured_and_ended(runs):
    """With no target named, the reference is started, answers everything, and is ended."""
    ended = runs["embedded"].ended()
    assert_not_blamed(ended)
    assert ended.results.run.target["name"] == "embedded"
    assert ended.scenario.counts["answered"] == ended.scenario.counts["sent"] > 300
    assert ended.scenario.violations == ()


def test_one_locust_process_for_now(tmp_path):
    """Master and workers are refused in one line instead of counting half of the samples."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    ended = start(tmp_path, *options).ended()
    assert ended.code == 2, ended.output
    assert "one Locust process" in ended.output


def test_the_scenarios_that_ship_are_listed():
    """`locust -f scenarios/ --list` shows what a user expects."""
    done = subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(ROOT / "scenarios"), "--list"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    assert "Request" in done.stdout.split()
