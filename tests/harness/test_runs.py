"""A run's folder, its name, and what it says about its machine."""

from __future__ import annotations

import datetime
from importlib import metadata
from pathlib import Path

import pytest

from streamproof import runs
from streamproof.errors import UsageError

STARTED = datetime.datetime(2026, 11, 23, 21, 52, 55, tzinfo=datetime.UTC)


def test_a_runs_name_sorts_by_time():
    """The name of a run is its moment and its command."""
    assert runs.run_id(STARTED, "verify") == "20261123-215255-verify"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["verify", "--out", "a b"], "streamproof verify --out 'a b'"),
        (["load", "--token", "ey.s", "--seed", "1"], "streamproof load --token ... --seed 1"),
        (["load", "--token=ey.s"], "streamproof load --token=..."),
        (["load", "--token-command", "get --key k"], "streamproof load --token-command ..."),
        (["load", "--token-command=get k"], "streamproof load --token-command=..."),
        (["load", "--target", "cmd:run --key k"], "streamproof load --target 'cmd:run ...'"),
        (["load", "--target=cmd:run --key k"], "streamproof load '--target=cmd:run ...'"),
        (["load", "--target", "cmd:run"], "streamproof load --target cmd:run"),
    ],
)
def test_the_command_line_hides_secrets(words, line):
    """The command that repeats a run can be pasted, and holds no token."""
    assert runs.command_line(words) == line


def test_a_folder_is_made_where_it_is_asked_for(tmp_path, monkeypatch):
    """Runs go below `reports` here, or into the folder that was named."""
    monkeypatch.chdir(tmp_path)
    assert runs.folder_for("r1", None) == Path("reports/r1")
    assert (tmp_path / "reports/r1").is_dir()
    assert runs.folder_for("r1", tmp_path / "out") == tmp_path / "out"
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path):
    """A path below a file can hold no run."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write to") as caught:
        runs.folder_for("r1", tmp_path / "file" / "out")
    assert "--out" in caught.value.hint


def test_latest_stands_for_the_last_run(tmp_path):
    """`latest` is a link that moves with each run."""
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
        runs.point_latest(tmp_path / name)
        assert (tmp_path / "latest").resolve() == (tmp_path / name).resolve()
    runs.point_latest(tmp_path / "latest")
    assert (tmp_path / "latest").resolve() == (tmp_path / "r2").resolve()


def test_latest_is_a_copy_where_links_fail(tmp_path, monkeypatch):
    """Without links the last run is copied, each time anew."""

    def no_links(self, target, target_is_directory=False):
        raise OSError("no privilege")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    for name in ("r1", "r2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
        runs.point_latest(tmp_path / name)
    assert [file.name for file in (tmp_path / "latest").iterdir()] == ["r2"]


def test_a_folder_called_latest_is_left_alone(tmp_path):
    """What somebody else keeps under that name is not replaced."""
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "mine").write_text("")
    (tmp_path / "r1").mkdir()
    runs.point_latest(tmp_path / "r1")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["latest", "r1"]
    assert (tmp_path / "latest" / "mine").exists()


def test_the_machine_is_described():
    """A report can name processor, cores, memory, system and Python."""
    found = runs.machine()
    assert set(found) == {"cpu", "cores", "memory_gib", "system", "python"}
    assert found["cpu"]
    assert found["cores"] >= 1


def test_a_machine_that_tells_nothing(monkeypatch, tmp_path):
    """Where the system is silent, the description still stands."""
    monkeypatch.setattr(runs, "CPUINFO", tmp_path / "none")
    monkeypatch.setattr(runs.os, "sysconf_names", {}, raising=False)
    monkeypatch.delattr(runs.os, "sched_getaffinity", raising=False)
    found = runs.machine()
    assert found["memory_gib"] == 0
    assert found["cpu"]
    (tmp_path / "some").write_text("flags : fpu\n")
    monkeypatch.setattr(runs, "CPUINFO", tmp_path / "some")
    assert runs.machine()["cpu"] == found["cpu"]


def test_versions_are_those_installed():
    """A library that is not there has no version."""
    found = runs.versions(("pytest", "no-such-distribution"))
    assert found == {"pytest": metadata.version("pytest")}


def test_run_info_says_how_to_repeat_it():
    """A run describes itself, in UTC, with the command that repeats it."""
    info = runs.run_info("r1", ["verify", "--seed", "1"], STARTED, 1.23456, {"name": "embedded"})
    assert info.command == "streamproof verify --seed 1"
    assert info.started_at == "2026-11-23T21:52:55Z"
    assert info.duration_s == 1.235
    assert info.target == {"name": "embedded"}
