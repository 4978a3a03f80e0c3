"""Locust as a program: its words, its lines, its ends. A Python program stands for it."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import signal
import sys
import threading
from pathlib import Path

import pytest

from streamproof import cli, runs
from streamproof.errors import ExitCode, HarnessError, StreamproofError
from streamproof.load import program
from streamproof.load.program import Words
from streamproof.load.words import Progress
from streamproof.results import LoadResult, Results, RunInfo

PROGRESS = Progress("request", "measure", 1, 20, 10, 10, 0.5, 1.5)


def stand_in(code, *lines, before=""):
    """A command line that prints `lines` and ends with `code`."""
    text = "\n".join(lines)
    return [
        sys.executable,
        "-c",
        f"import sys\n{before}\nprint({text!r}, flush=True)\nsys.exit({code})",
    ]


def leave_results(folder):
    """Results of a run that measured nothing."""
    run = RunInfo("run", "streamproof load", "2026-01-01T00:00:00Z", 1.0, {}, {}, {})
    Results(run, load=LoadResult("smoke", 1, 1.0, ())).write(folder / "results.json")


def test_options_become_locusts_words(tmp_path):
    """Only what is given is passed on; secrets are no options."""
    words = Words(target="ws://127.0.0.1:9/dev", seed=0, users=7, spawn_rate=2.5, run_time="4s")
    argv = program.command([Path("a.py"), Path("b.py")], words, tmp_path)
    assert argv[:3] == [sys.executable, "-m", "locust"]
    assert argv[argv.index("-f") + 1] == "a.py,b.py"
    text = " ".join(argv)
    for part in ("--target ws://127.0.0.1:9/dev", "--seed 0", "--users 7", "--run-time 4s"):
        assert part in text
    assert "--rate" not in argv
    assert argv[-2:] == ["--out", str(tmp_path)]
    assert "token" not in {field.name for field in dataclasses.fields(Words)}


def test_a_run_is_repeated_by_what_it_was_given():
    """Every option that was given, by the name that `streamproof load` has for it."""
    words = Words(
        target="wss://example.test/dev",
        jwt_key="dev.pem",
        issuer="i",
        audience="a",
        environment="dev",
        settings="mine.toml",
        size="smoke",
        seed=3,
        rate=20.0,
        users=7,
        spawn_rate=2.5,
        run_time="9",
    )
    line = program.again(["request"], words, "a-secret")
    args = cli.parser_of("load").parse_args(line[1:])
    given = vars(args)
    assert (given["target"], given["auth.token"]) == (words.target, "a-secret")
    assert (given["auth.jwt_key"], given["auth.issuer"]) == ("dev.pem", "i")
    assert (given["auth.audience"], given["safety.environment"]) == ("a", "dev")
    assert args.scenarios == ["request"]
    assert (args.connections, args.connects, args.seconds, args.rate) == (7, 2.5, 9, 20.0)
    assert (args.seed, args.size, str(args.config)) == (3, "smoke", "mine.toml")
    assert runs.command_line(program.again([], Words(target="embedded"), "a-secret")) == (
        "streamproof load --target embedded --token ..."
    )


def test_progress_is_shown_and_results_are_read(tmp_path):
    """Lines of progress become words, other lines are passed on, the exit code is the run's."""
    leave_results(tmp_path)
    shown = []
    line = json.dumps({"progress": dataclasses.asdict(PROGRESS)})
    argv = stand_in(1, "request: 100 connections", line, '{"progress" broken', "")
    code, results = program.run(argv, tmp_path, shown.append)
    assert code is ExitCode.BROKEN
    assert results is not None
    assert shown[0] == "request: 100 connections"
    assert shown[1].startswith("request measure 1/20 s")
    assert shown[2] == '{"progress" broken'


def test_a_token_goes_through_the_environment(tmp_path):
    """The secret reaches the run, not its command line."""
    leave_results(tmp_path)
    shown = []
    before = "import os; print(os.environ['STREAMPROOF_TOKEN'], os.environ['STREAMPROOF_PROGRESS'])"
    argv = stand_in(0, before=before)
    program.run(argv, tmp_path, shown.append, "a-secret")
    assert shown == ["a-secret json"]
    assert "a-secret" not in str(argv)


def test_what_the_run_complains_of_is_raised_again(tmp_path):
    """One line, its hint, its exit code."""
    argv = stand_in(2, "streamproof: no connection to x", "  is it running?")
    with pytest.raises(StreamproofError) as raised:
        program.run(argv, tmp_path, lambda _: None)
    assert raised.value.message == "no connection to x"
    assert raised.value.hint == "is it running?"
    assert raised.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(("code", "lines"), [(1, ("Traceback", "KeyError: 1")), (77, ()), (0, ())])
def test_an_end_without_results_says_nothing_about_the_target(tmp_path, code, lines):
    """A broken Locust is the harness's fault: exit 3, with its last words."""
    with pytest.raises(HarnessError, match=f"locust ended with {code}") as raised:
        program.run(stand_in(code, *lines), tmp_path, lambda _: None)
    assert raised.value.hint == (lines[-1] if lines else "it said nothing")


def test_an_interruption_is_passed_on_and_waited_for(tmp_path):
    """Ctrl-C reaches the run once; what it then leaves counts."""
    leave_results(tmp_path)
    before = (
        "import signal\n"
        "try:\n    print('ready', flush=True)\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    print('judging', flush=True)"
    )
    shown = []

    def show(line):
        shown.append(line)
        if line == "ready":
            signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    code, _ = program.run(stand_in(0, before=before), tmp_path, show)
    assert code is ExitCode.HOLDS
    assert shown == ["ready", "judging"]


def test_a_reader_that_breaks_ends_the_run(tmp_path):
    """No program is left behind when showing a line fails."""

    def show(line):
        raise ValueError(line)

    with pytest.raises(ValueError, match="ready"):
        program.run(stand_in(0, before="print('ready', flush=True)"), tmp_path, show)


def test_a_run_that_does_not_end_is_ended(tmp_path, monkeypatch):
    """A run that has closed its output and hangs is killed and said."""
    monkeypatch.setattr(program, "STOP_TIMEOUT_S", 0.05)
    before = "import os, signal\nos.close(1)\nos.close(2)\nsignal.pause()"
    with pytest.raises(HarnessError, match="did not end"):
        program.run(stand_in(0, before=before), tmp_path, lambda _: None)


def test_a_missing_locust_is_named(monkeypatch):
    """Without the extra, the module's name tells the command line what to install."""
    program.require_locust()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as raised:
        program.require_locust()
    assert raised.value.name == "locust"
