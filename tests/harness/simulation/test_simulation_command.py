"""`streamproof replay` and `python -m streamproof.simulation`: output, exit codes, help."""

from __future__ import annotations

import json

import pytest

from streamproof import cli
from streamproof.simulation import __main__ as command
from streamproof.simulation import campaign
from streamproof.targets import simulated

MUTANT = "claim-without-a-condition"


def broken_seed():
    """The first seed that shows the mutant."""
    _, needed = simulated.seeds_to_detection((MUTANT, 1, 100))
    return needed[0] - 1


def test_replay_tells_a_seed(capsys):
    """Its faults, its events in order, its verdict."""
    assert cli.main(["replay", "3"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("seed 3: ")
    moments = [float(line.split()[0]) for line in told[2:-3]]
    assert moments == sorted(moments)
    assert told[-1] == "holds"
    assert cli.main(["replay", "3", "--store"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(told)


def test_replay_of_a_broken_seed_shows_the_witness(capsys):
    """The rule, the events of that request, and the command; 1 is the exit code."""
    seed = broken_seed()
    assert cli.main(["replay", str(seed), "--mutant", MUTANT]) == 1
    told = capsys.readouterr().out
    assert "smallest witness of the first:" in told
    assert told.rstrip().endswith(f"again: streamproof replay {seed} --mutant {MUTANT}")
    assert cli.main(["replay", str(seed), "--mutant", MUTANT, "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == "streamproof.replay/1"
    assert not shown["holds"]
    assert 0 < len(shown["witness"]) < len(shown["events"])
    assert shown["violations"][0]["rule"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["replay", "-7"], "seed"),
        (["replay", "x"], "seed"),
        (["replay", "1", "--mutant", "no"], "no"),
    ],
)
def test_replay_refuses_what_is_no_seed_and_no_mutant(words, said, capsys):
    """2 is the exit code, and the word is named."""
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err


def test_a_seed_that_does_not_find_its_mutant_says_so(capsys):
    """`holds` alone would read as if nothing were planted; the command that looks is named."""
    name = "retention-of-a-day"
    assert cli.main(["replay", "0", "--mutant", name]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-3] == "holds"
    assert f"the mutant {name} was planted, and this seed does not find it" in told[-2]
    assert f"--mutants --only {name}" in told[-1]


def test_the_simulation_counts_what_occurred(capsys):
    """A few seeds need not show everything."""
    assert command.main(["--seeds", "20", "--first", "100"]) == 0
    assert "20 seeds, 0 broken" in capsys.readouterr().out
    assert command.main(["--seeds", "20", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["seeds"], summary["first"], summary["broken"]) == (20, 0, [])


def test_many_seeds_that_do_not_show_everything_fail(capsys, monkeypatch):
    """A kind of outcome that never occurred is named, and there is no verdict."""
    monkeypatch.setattr(campaign, "SEEDS_FOR_ALL", 2)
    assert command.main(["--seeds", "2"]) == 3
    assert "never occurred: " in capsys.readouterr().out


def test_a_broken_seed_is_named_with_its_command(capsys, monkeypatch):
    """1 is the exit code, and progress goes to standard error."""
    part = campaign.Part(50, (campaign.Broken(7, "ASYNC-1", "lost"),), campaign.NOTHING.classes)
    monkeypatch.setattr(simulated, "play_some", lambda _: part)
    monkeypatch.setattr(command, "PROGRESS_S", 0.0)
    assert command.main(["--seeds", "50"]) == 1
    told = capsys.readouterr()
    assert "streamproof replay 7" in told.out
    assert "50 of 50 seeds, 1 broken" in told.err


def test_mutants_are_measured(capsys):
    """The median of the seeds that each start needed; 1 when one start did not find it."""
    words = ["--mutants", "--only", MUTANT, "--starts", "2", "--most", "100"]
    assert command.main(words) == 0
    told = capsys.readouterr().out
    assert f"{MUTANT}: 2 of 2 starts" in told
    assert f"streamproof replay {broken_seed()} --mutant {MUTANT}" in told
    assert command.main([*words, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["mutants"][0]["needed"]) == 2
    assert (
        command.main(["--mutants", "--only", "retention-of-a-day", "--starts", "1", "--most", "1"])
        == 1
    )
    assert "never found" in capsys.readouterr().out
    assert command.main(["--mutants", "--only", "nobody"]) == 2


def test_an_interrupt_ends_with_its_code(capsys, monkeypatch):
    """130, in one line."""

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulated, "play_some", interrupted)
    assert command.main(["--seeds", "5"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_wrong_words_end_with_two(capsys):
    """As argparse does, with the examples in --help."""
    for words, said in (
        (["--seeds", "0"], "--seeds 0 is out of range"),
        (["--jobs", "65"], "give 1 to 64"),
        (["--first", "-1"], "--first -1 is out of range"),
        (["--seeds", "x"], "argument --seeds: invalid int value"),
        (["--only", MUTANT], "add --mutants"),
        (["--mutants", "--only", MUTANT[:-4]], f"did you mean {MUTANT}"),
    ):
        assert command.main(words) == 2
        error = capsys.readouterr().err
        assert error.startswith("python -m streamproof.simulation: ")
        assert error.count("python -m streamproof.simulation: ") == 1
        assert said in error
    with pytest.raises(SystemExit) as caught:
        command.main(["--help"])
    assert caught.value.code == 0
    assert "--seeds 100000" in capsys.readouterr().out


def test_several_processes_give_the_same_parts():
    """In the order of the seeds."""
    seeds = range(campaign.CHUNK * 2)
    alone = list(campaign.run(simulated.play_some, seeds))
    assert list(campaign.run(simulated.play_some, seeds, jobs=2)) == alone
