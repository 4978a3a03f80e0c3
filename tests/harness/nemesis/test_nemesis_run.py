"""One small seed with real processes, and what is left of it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from streamproof.history import check, read
from streamproof.nemesis import run as module
from streamproof.nemesis.run import HISTORY_NAME, run_seed
from streamproof.nemesis.schedule import Options
from streamproof.nemesis.witness import witness

# A seed whose pause comes early, so that the run is short.
SEED = 4
OPTIONS = Options(requests=40, kills=2, disconnects=2, clients=3, error_rate=0.15, slow_rate=0.05)


def children() -> set[str]:
    """The processes that this one has started and that still run."""
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text(encoding="ascii").split()}


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the state is made; what must not come gets little time to."""
    monkeypatch.setattr(module, "QUIET_S", 0.2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def test_a_small_run_strikes_holds_and_leaves_nothing(quick: Path) -> None:
    """Kills, a pause, failing posts, records twice: every request ends once, as it must."""
    out = quick / "out"
    out.mkdir()
    shown: list[str] = []
    before = children()
    found = await run_seed(OPTIONS, SEED, out, "the command", shown.append, within_s=600)
    assert found.violations == ()
    assert found.reason == ""
    assert found.counts["sent"] == 40
    assert found.counts["completed"] + found.counts["failed"] == 40
    assert found.counts["failed"] > 0
    for fault in ("kill", "pause", "disconnect"):
        assert found.faults[fault] == getattr(OPTIONS, f"{fault}s")
    for what in ("takeovers", "posts answered 429", "posts answered 500", "posts taken late"):
        assert found.faults[what] > 0
    assert found.faults["records delivered"] >= 2 * found.faults["records"] > 0
    assert any("was killed" in line for line in shown)
    assert children() == before
    assert names(quick) == ["out"]  # the state is gone
    history = out / HISTORY_NAME
    assert check(read(history)) == []
    lines = witness(history, "s4-0")
    assert any("> {" in line for line in lines)
    assert any("complete" in line for line in lines)
    assert any("nemesis" in line for line in lines)
    assert witness(history, "nobody") == witness(history, "") == []


async def test_an_interrupted_run_leaves_nothing(quick: Path) -> None:
    """Ctrl-C cancels the run: processes and state go at once, stopped workers too."""
    before = children()
    paused = asyncio.Event()

    def show(line: str) -> None:
        if "was stopped" in line:
            paused.set()

    run = asyncio.create_task(run_seed(OPTIONS, SEED, quick, "c", show, within_s=600))
    await asyncio.wait_for(paused.wait(), 30)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert children() == before
    assert names(quick) == [HISTORY_NAME]
