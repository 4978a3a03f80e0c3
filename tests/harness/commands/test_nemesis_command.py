"""The command line of the nemesis, over seeds whose results are made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from streamproof import cli
from streamproof.nemesis import run as nemesis_run
from streamproof.nemesis.schedule import Options
from streamproof.results import Results, SeedResult

COUNTS = dict.fromkeys(
    ("refused", "never accepted", "lost", "second outcomes", "PROCESSING_FAILED"), 0
) | {"sent": 9, "acknowledged": 9}
FAULTS = {"kill": 1, "posts": 50, "posts answered 429": 5, "records": 9, "records delivered": 18}


class Seeds:
    """Stands for `run_seed`: notes what it was asked, answers what it was told."""

    def __init__(self, **by_seed: dict[str, Any]) -> None:
        """`by_seed`: what differs from a seed that holds; "interrupt" is Ctrl-C."""
        self.by_seed = by_seed
        self.asked: list[tuple[Options, int, str, float]] = []

    async def __call__(
        self, options: Options, seed: int, folder: Path, command: str, show: Any, *, within_s: float
    ) -> SeedResult:
        """Answer as one seed."""
        self.asked.append((options, seed, command, within_s))
        (folder / nemesis_run.HISTORY_NAME).write_text("")
        show("1.0 s  kill: somebody")
        members = self.by_seed.get(f"s{seed}", {})
        if "interrupt" in members:
            raise KeyboardInterrupt
        plain: dict[str, Any] = {"violations": (), "witness": (), "reason": ""}
        return SeedResult(
            seed=seed,
            duration_s=4.5,
            command=command,
            **{"counts": COUNTS, "faults": FAULTS, **plain, **members},
        )


def ran(
    monkeypatch: pytest.MonkeyPatch, out: Path, *words: str, **by_seed: dict[str, Any]
) -> tuple[int, Seeds]:
    """The exit code, and what was asked."""
    seeds = Seeds(**by_seed)
    monkeypatch.setattr(nemesis_run, "run_seed", seeds)
    monkeypatch.setenv("STREAMER_LOG_LEVEL", "")
    return cli.main(["nemesis", *words, "--out", str(out)]), seeds


def test_seeds_that_hold_end_with_0_a_table_and_the_bound(tmp_path, monkeypatch, capsys) -> None:
    """One row a seed, the closing sentence, results that can be read again."""
    code, seeds = ran(monkeypatch, tmp_path, "--seeds", "2", "--seed", "7", "--requests", "9")
    said = capsys.readouterr()
    assert code == 0
    assert [seed for _, seed, _, _ in seeds.asked] == [7, 8]
    assert seeds.asked[0][2] == "streamproof nemesis --seed 7 --requests 9"
    assert (
        "| 7 | 9 | 9 | 0 | 0 | 0 | 0 | 0 | 0 | 1 | 0 | 0 | 5 / 0 of 50 | 18 / 0 of 9 | 4.5 |"
        in said.out
    )
    assert "The target holds: 18 acknowledged requests on 2 seeds, 0 lost" in said.out
    assert "(0 of 18: below 16.67% at 95 %)" in said.out
    assert "seed 7: holds; 9 acknowledged" in said.err
    results = Results.read(tmp_path / "results.json")
    assert results.nemesis is not None
    assert results.nemesis.settings["requests"] == 9
    assert [seed.faults for seed in results.nemesis.seeds] == [FAULTS, FAULTS]
    assert (tmp_path / "seed-8" / "history.ndjson").exists()


def test_a_violation_ends_with_1_its_witness_and_the_command(tmp_path, monkeypatch, capsys) -> None:
    """The events around it, and the words that replay this seed alone."""
    broken = {
        "violations": ("ASYNC-1 of r: lost",),
        "witness": ("  1.0 s  > sent",),
        "counts": {**COUNTS, "lost": 1},
    }
    code, _ = ran(monkeypatch, tmp_path, "--seeds", "2", "--kills", "3", s2=broken)
    out = capsys.readouterr().out
    assert code == 1
    assert "seed 2 VIOLATED, replay: streamproof nemesis --seed 2 --kills 3" in out
    assert "ASYNC-1 of r: lost" in out
    assert "> sent" in out
    assert "The target does not hold" in out
    assert out.splitlines()[-1].endswith(f"streamproof report {tmp_path} makes a page of it")
    assert "95 %" not in out


def test_a_run_that_shows_nothing_ends_with_3(tmp_path, monkeypatch, capsys) -> None:
    """A fault that never struck is no proof."""
    code, _ = ran(monkeypatch, tmp_path, s1={"reason": "a kill found nothing to strike"})
    assert code == 3
    out = capsys.readouterr().out
    assert "seed 1 no verdict: a kill found nothing to strike" in out
    assert "requests on 1 seed," in out


def test_a_wrong_number_is_one_complaint_of_one_program(capsys) -> None:
    """The program's name stands once, the command's after it."""
    assert cli.main(["nemesis", "--seeds", "x"]) == 2
    assert capsys.readouterr().err.startswith("streamproof: nemesis: argument --seeds: ")


def test_json_is_the_file(tmp_path, monkeypatch, capsys) -> None:
    """What is printed is what is written."""
    code, _ = ran(monkeypatch, tmp_path, "--json", s1={"reason": "r"})
    assert code == 3
    assert json.loads(capsys.readouterr().out)["nemesis"]["seeds"][0]["reason"] == "r"


def test_an_interrupted_run_ends_with_130_and_leaves_no_files(tmp_path, monkeypatch) -> None:
    """Neither a history nor an empty folder."""
    out = tmp_path / "run"
    code, _ = ran(monkeypatch, out, s1={"interrupt": True})
    assert code == 130
    assert not out.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--target", "ws://127.0.0.1:1/dev"],
        ["--requests", "0"],
        ["--kills", "-1"],
        ["--error-rate", "0.9"],
        ["--seeds", "0"],
        ["--within", "nan"],
    ],
)
def test_what_cannot_be_is_refused(tmp_path, monkeypatch, capsys, words: list[str]) -> None:
    """Exit 2 before anything starts; a target of somebody else's is never harmed."""
    code, seeds = ran(monkeypatch, tmp_path / "run", *words)
    assert code == 2
    assert seeds.asked == []
    assert "streamproof: " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_runs_go_below_reports_and_become_the_latest(tmp_path, monkeypatch) -> None:
    """As those of the other commands; the loop of `serve` is optional."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nemesis_run, "run_seed", Seeds())
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setenv("STREAMER_LOG_LEVEL", "")
    assert cli.main(["nemesis"]) == 0
    assert (tmp_path / "reports" / "latest" / "results.json").exists()


def test_windows_has_no_such_signals(tmp_path, monkeypatch) -> None:
    """It is said, not tried."""
    monkeypatch.setattr("streamproof.commands.nemesis.sys.platform", "win32")
    code, seeds = ran(monkeypatch, tmp_path)
    assert code == 2
    assert seeds.asked == []
