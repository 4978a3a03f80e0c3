"""`streamproof load`: words in, a run elsewhere, verdicts and a report out."""

from __future__ import annotations

import pytest

from streamproof import cli
from streamproof.errors import ExitCode, TargetUnreachableError
from streamproof.load import program
from support.sample_results import sample_results


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What would have been started; it ends well and leaves the sample's results."""
    calls = []

    def run(argv, folder, show, token):
        calls.append((argv, token))
        show("request measure 1/20 s")
        return ExitCode.HOLDS, sample_results()

    monkeypatch.setattr(program, "run", run)
    monkeypatch.chdir(tmp_path)
    return calls


def test_everything_is_run_judged_and_shown(started, tmp_path, capsys):
    """No words: all scenarios on the embedded target, the page's path as the last line."""
    assert cli.main(["load"]) == 0
    out, err = capsys.readouterr()
    argv, token = started[0]
    text = " ".join(argv)
    for part in ("scenarios/request.py", "--target embedded", "--size full", "--seed 1"):
        assert part in text
    assert token is None
    assert "request measure 1/20 s" in err
    assert 'request.latency_ms = "p(99) < 10"' in out
    assert out.splitlines()[-1].endswith("report.html")
    assert (tmp_path / "reports" / "latest" / "report.html").exists()


def test_options_reach_the_run(started, tmp_path):
    """Numbers override the scenario; a token goes beside the command line."""
    words = ["load", "request", "--size", "smoke", "-u", "7", "--rate", "50", "-t", "9", "-r", "5"]
    words += ["--target", "ws://127.0.0.1:9/dev", "--token", "a-secret", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    argv, token = started[0]
    text = " ".join(argv)
    for part in ("--users 7", "--rate 50.0", "--run-time 9s", "--spawn-rate 5.0", "--size smoke"):
        assert part in text
    assert token == "a-secret"
    assert "a-secret" not in text
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["load", "reqest"], "there is no scenario reqest"),
        (["load", "--target", "nowhere"], "no such target"),
        (["load", "--size", "huge"], "--size"),
        (["load", "--seed", "-1"], "load.seed"),
        (
            ["load", "--target", "wss://example.test/live", "--environment", "production"],
            "load is not run on production",
        ),
    ],
)
def test_wrong_words_start_nothing(started, capsys, words, said):
    """A slip is one line and exit 2."""
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err
    assert started == []


def test_an_interrupted_run_without_results_shows_none(monkeypatch, tmp_path, capsys):
    """130, and no report of nothing."""
    monkeypatch.setattr(program, "run", lambda *_: (ExitCode.INTERRUPTED, None))
    assert cli.main(["load", "--out", str(tmp_path)]) == ExitCode.INTERRUPTED
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("out", [True, False])
def test_a_refused_run_leaves_nothing(monkeypatch, tmp_path, capsys, out):
    """Exit 2, and neither an empty folder nor Locust's own tables."""

    def refused(argv, folder, show, token):
        (folder / "locust.json").write_text("[]")
        raise TargetUnreachableError("no connection to x")

    monkeypatch.setattr(program, "run", refused)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["load", *(["--out", "here"] if out else [])]) == 2
    assert "no connection to x" in capsys.readouterr().err
    assert not (tmp_path / "here").exists()
    assert [*tmp_path.glob("reports/*")] == []


def test_without_the_extra_the_line_that_installs_it(monkeypatch, tmp_path, capsys):
    """A base install names the extra."""

    def missing():
        raise ModuleNotFoundError("No module named 'locust'", name="locust")

    monkeypatch.setattr(program, "require_locust", missing)
    assert cli.main(["load", "--out", str(tmp_path)]) == 2
    assert "streamproof[load]" in capsys.readouterr().err
