"""`streamproof verify`: both parts, one folder, one sentence, one code."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from streamproof import cli, parts, runs
from streamproof.results import Results
from support.sample_results import sample_contract, sample_load, sample_run


class FakeParts:
    """Stands for the two programs: leaves what the test says and remembers how it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.ends: dict[str, tuple[int, Results | None, tuple[str, ...]]] = {
            "contract": (0, Results(sample_run(), contract=sample_contract()), ("28/28",)),
            "load": (0, Results(sample_run(), load=sample_load()), ("60 of 60 s",)),
        }
        self.error: BaseException | None = None
        self.error_in = "contract"

    def run(self, name, words, folder, show, timeout_s):
        assert 0 < timeout_s <= 235
        self.calls.append((name, list(words)))
        for line in ("at work", *self.ends[name][2]):
            show(line)
        (folder / "history.ndjson").write_text(name)
        if self.error is not None and name == self.error_in:
            raise self.error
        code, results, tail = self.ends[name]
        return parts.Ended(name, code, results, tail)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """An empty current folder and parts that start nothing."""
    monkeypatch.chdir(tmp_path)
    found = FakeParts()
    monkeypatch.setattr(parts, "run", found.run)
    return found


def test_a_run_ends_with_one_sentence_and_its_report(fake, capsys):
    """Standard output has the closing sentence and the page; the folder has everything."""
    assert cli.main(["verify"]) == 0
    sentence, path = capsys.readouterr().out.splitlines()
    assert sentence.startswith("The target embedded keeps version 1 of the contract and meets")
    assert "Shown: connection, streamer, resilience and platform" in sentence
    assert "Not shown:" in sentence
    folder = Path(path).parent
    assert folder.parent == Path("reports")
    assert sorted(file.name for file in folder.iterdir()) == [
        "history.ndjson",
        "junit.xml",
        "load-history.ndjson",
        "report.html",
        "results.json",
    ]
    assert Path("reports/latest/report.html").samefile(path)
    results = Results.read(folder / "results.json")
    assert results.contract is not None
    assert results.load is not None
    assert results.run.command == "streamproof verify --target embedded --size full --seed 1"


def test_options_reach_the_parts(fake, tmp_path):
    """Target, credentials, size and seed are handed on; the folder can be chosen."""
    words = ["--target", "ws://127.0.0.1:9/dev", "--issuer", "i", "--size", "smoke", "--seed", "5"]
    assert cli.main(["verify", *words, "--out", "here"]) == 0
    target = ["--target", "ws://127.0.0.1:9/dev", "--issuer", "i"]
    assert fake.calls == [
        ("contract", [*target, "--seed", "5"]),
        ("load", [*target, "--seed", "5", "--size", "smoke", "--looks", "2"]),
    ]
    assert (tmp_path / "here" / "report.html").exists()
    assert not (tmp_path / "reports").exists()
    command = Results.read(tmp_path / "here" / "results.json").run.command
    assert command.endswith("verify --target ws://127.0.0.1:9/dev --issuer i --size smoke --seed 5")


def test_json_goes_to_standard_output(fake, capsys):
    """With `--json` the product is the results and nothing else."""
    assert cli.main(["verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "streamproof.results/1"


def test_a_broken_contract_is_told_and_the_load_still_runs(fake, capsys):
    """One part that does not hold decides the code, and the other is shown all the same."""
    contract = sample_contract(red=True)
    fake.ends["contract"] = (1, Results(sample_run(), contract=contract), ())
    assert cli.main(["verify"]) == 1
    assert "does not keep version 1 of the contract, but meets" in capsys.readouterr().out


def test_a_part_without_results_leaves_no_verdict(fake, capsys):
    """Half a run is reported as half a run, and is never green."""
    fake.ends["load"] = (3, None, ("the generator broke",))
    assert cli.main(["verify"]) == 3
    out, err = capsys.readouterr()
    assert "Performance: no load was run" in out
    assert "load left no results: the generator broke" in err


def test_no_results_at_all_are_no_verdict(fake, capsys, tmp_path):
    """When nothing is known there is no report, and no empty folder either."""
    fake.ends = dict.fromkeys(fake.ends, (3, None, ("it broke",)))
    assert cli.main(["verify"]) == 3
    assert "nothing is known about the target" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tail", "said"),
    [
        (
            ("starting", "streamproof: no connection to ws://h", "  is it running?"),
            ["streamproof: no connection to ws://h", "  is it running?"],
        ),
        (("something odd",), ["streamproof: contract: something odd"]),
        ((), ["streamproof: contract: refused to run"]),
    ],
)
def test_a_part_that_cannot_start_is_told_in_its_own_words(fake, capsys, tmp_path, tail, said):
    """A wrong start of a part is one line of the whole, exit 2, and leaves nothing to read."""
    fake.ends["contract"] = (2, None, tail)
    assert cli.main(["verify", "--out", "here"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-len(said) :] == said
    assert len(lines) == len(set(lines)), "what is wrong is said once"
    assert len(fake.calls) == 1
    assert not (tmp_path / "here" / ".parts").exists()


@pytest.mark.parametrize(
    ("code", "tail", "expected", "said"),
    [
        (2, ("streamproof: no connection to ws://h", "  is it running?"), 2, "no connection"),
        (130, (), 3, "did not end within"),
    ],
)
def test_a_refused_load_takes_nothing_from_the_contract(fake, capsys, code, tail, expected, said):
    """What the contract found is written and told, and the load is named as not shown."""
    fake.ends["load"] = (code, None, tail)
    assert cli.main(["verify"]) == expected
    out, err = capsys.readouterr()
    assert "keeps version 1 of the contract" in out
    assert f"load left no results: {'load ' if code == 130 else ''}{said}" in err
    results = Results.read(Path("reports/latest/results.json"))
    assert results.contract is not None
    assert results.load is None
    assert said in results.contract.not_shown[-1]


@pytest.mark.parametrize("by", ["words", "target"])
def test_production_is_not_loaded(fake, capsys, by):
    """Its connections are judged, and the report says what was left out."""
    words = ["--target", "wss://example.test/live"]
    if by == "words":
        words += ["--environment", "production", "--i-accept-load-on", "example.test"]
    else:
        run = dataclasses.replace(sample_run(), target={"environment": "production"})
        fake.ends["contract"] = (0, Results(run, contract=sample_contract()), ())
    assert cli.main(["verify", *words]) == 0
    assert [name for name, _ in fake.calls] == ["contract"]
    assert "on production only connections are judged" in capsys.readouterr().out


def test_a_part_beyond_the_budget(fake, capsys):
    """A part that had to be interrupted gave no verdict, and the line says how to run it alone."""
    fake.ends["contract"] = (130, None, ())
    assert cli.main(["verify"]) == 3
    assert "run it alone: streamproof contract" in capsys.readouterr().err


@pytest.mark.parametrize("during", ["contract", "load"])
def test_an_interrupt_tidies_up(fake, tmp_path, during):
    """Ctrl-C ends as 130 and leaves no half of a run, early or late."""
    fake.error, fake.error_in = KeyboardInterrupt(), during
    assert cli.main(["verify"]) == 130
    assert list((tmp_path / "reports").iterdir()) == []


def test_a_folder_of_the_users_own_is_kept(fake, tmp_path):
    """What was asked for with `--out` is not removed, only our own working folder in it."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine").write_text("")
    fake.error = KeyboardInterrupt()
    assert cli.main(["verify", "--out", "here"]) == 130
    assert [file.name for file in (tmp_path / "here").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "nonsense"], "no such target: 'nonsense'"),
        (["--out", "file/out"], "cannot write to file/out"),
        (["--seed", "-1"], "load.seed must be from 0"),
        (["--size", "huge"], "invalid choice"),
    ],
)
def test_wrong_starts_run_nothing(fake, tmp_path, capsys, words, said):
    """What is wrong with the words is told before anything runs."""
    (tmp_path / "file").write_text("")
    assert cli.main(["verify", *words]) == 2
    assert said in capsys.readouterr().err
    assert fake.calls == []


def test_a_full_disk_is_told(fake, capsys, monkeypatch):
    """A report that cannot be written is one line."""

    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Results, "write", full)
    assert cli.main(["verify"]) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_latest_points_at_the_last_run(fake, monkeypatch):
    """Two runs in a row: `latest` is the second."""
    names = iter(("20260101-000000-verify", "20260101-000001-verify"))
    monkeypatch.setattr(runs, "run_id", lambda started, command: next(names))
    for _ in range(2):
        assert cli.main(["verify"]) == 0
    assert Path("reports/latest").resolve().name == "20260101-000001-verify"
