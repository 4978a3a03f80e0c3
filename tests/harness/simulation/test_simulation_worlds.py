"""Worlds of the reference: one seed is one history, seeds are clean, wrong protocols are found."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from streamproof.simulation import campaign
from streamproof.simulation.faults import KINDS, Faults
from streamproof.targets import simulated

SEEDS = 2_000
# A few of those in docs/simulation.md, which are found within a few worlds.
FOUND_SOON = ("enqueued-then-acknowledged", "claim-without-a-condition", "reused-id-overwrites")


def without_coverage(**more):
    """The environment for a program whose lines are not counted: it would take thrice as long."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    return kept | more


def digests(hash_seed, *seeds):
    """The histories of seeds in a process of their own."""
    code = (
        "import sys; from streamproof.targets.simulated import play;"
        "print([play(int(seed), verbose=True).digest for seed in sys.argv[1:]])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, seeds)],
        env=without_coverage(PYTHONHASHSEED=hash_seed),
        capture_output=True,
        check=True,
        text=True,
    ).stdout


def test_one_seed_is_one_history_in_every_process():
    """Byte for byte, each call to the store included, whatever the order of hashes."""
    seeds = range(40)
    one, other = digests("1", *seeds), digests("2", *reversed(seeds))
    assert json.loads(one.replace("'", '"')) == json.loads(other.replace("'", '"'))[::-1]
    assert len(set(json.loads(one.replace("'", '"')))) == 40


def test_two_thousand_seeds_are_clean_and_show_everything():
    """No rule is broken, and each kind of fault and of outcome occurs."""
    words = f"-m streamproof.simulation --seeds {SEEDS} --jobs 2 --json".split()
    ended = subprocess.run(
        [sys.executable, *words],
        env=without_coverage(),
        capture_output=True,
        check=False,
        text=True,
    )
    summary = json.loads(ended.stdout)
    assert summary["broken"] == []
    assert summary["never"] == []
    assert summary["seeds"] == SEEDS
    assert ended.returncode == 0


def test_a_few_seeds_in_this_process():
    """The same without a process of its own."""
    part = simulated.play_some(range(5_000, 5_060))
    assert part.broken == ()
    assert part.seeds == 60
    assert part.classes["got complete"] > 20


@pytest.mark.parametrize("mutant", FOUND_SOON)
def test_a_wrong_protocol_is_found(mutant):
    """Within 300 worlds, where the right one breaks in none."""
    name, needed = simulated.seeds_to_detection((mutant, 1, 300))
    assert name == mutant
    assert needed[0] is not None


def test_what_never_occurred_is_named():
    """A campaign that does not show what it is for."""
    assert campaign.missing(campaign.NOTHING) == list(campaign.CLASSES)


def test_faults_stop_for_good():
    """After the healing nothing strikes."""
    noted = []
    for seed in range(30):
        faults = Faults(seed, lambda: 1.5, lambda kind, where: noted.append((kind, where)))
        while faults.kinds and not noted:
            for kind in KINDS:
                faults.strikes(kind, "here")
        faults.stop()
        before = len(noted)
        assert not any(faults.hits(kind) for kind in KINDS for _ in range(50))
        assert len(noted) == before
    assert {where for _, where in noted} == {"here"}
    assert faults.choose("a") == "a"
