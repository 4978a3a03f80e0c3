"""`streamproof report`: a run is rendered again from its results."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamproof import cli
from support.sample_results import sample_results


@pytest.mark.parametrize("by_file", [False, True])
def test_a_run_is_rendered_again(tmp_path, capsys, by_file):
    """A folder or its results.json: the page and the XML are written beside it."""
    results = tmp_path / "results.json"
    sample_results().write(results)
    assert cli.main(["report", str(results if by_file else tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'report.html'}\n"
    assert err.startswith("The target embedded keeps version 1")
    assert (tmp_path / "junit.xml").exists()


def test_the_worst_run_decides(tmp_path):
    """Several runs end with the worst of their codes."""
    for name, red in (("green", False), ("red", True)):
        (tmp_path / name).mkdir()
        sample_results(red=red).write(tmp_path / name / "results.json")
    assert cli.main(["report", str(tmp_path / "green"), str(tmp_path / "red")]) == 1


def test_no_run_is_a_wrong_start(tmp_path, capsys):
    """A folder without results is named, with what to name instead."""
    assert cli.main(["report", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path} has no results.json" in err
    assert "name a run's folder" in err


@pytest.mark.parametrize("name", ["nope", "nope/results.json"])
def test_a_run_that_does_not_exist_is_named_in_plain_words(name, tmp_path, capsys):
    """No number of an error, nor the name of a file that nobody wrote."""
    missing = tmp_path / name
    assert cli.main(["report", str(missing)]) == 2
    err = capsys.readouterr().err
    assert f"{tmp_path / 'nope'} is no run: it does not exist" in err
    assert "Errno" not in err


def test_a_file_that_is_no_json_is_named(tmp_path, capsys):
    """The reader's own words say where it stopped."""
    (tmp_path / "results.json").write_text("{")
    assert cli.main(["report", str(tmp_path)]) == 2
    assert f"cannot read {tmp_path / 'results.json'}: " in capsys.readouterr().err


def test_a_run_that_may_not_be_read_is_named(tmp_path, capsys, monkeypatch):
    """The system's reason, without its number."""

    def closed(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", closed)
    sample_results().write(tmp_path / "results.json")
    assert cli.main(["report", str(tmp_path)]) == 2
    assert f"cannot read {tmp_path / 'results.json'}: Permission denied" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    """A run on a read-only disk can be read and not rendered there."""
    sample_results().write(tmp_path / "results.json")

    def read_only(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", read_only)
    assert cli.main(["report", str(tmp_path)]) == 2
    assert f"cannot write to {tmp_path}: Permission denied" in capsys.readouterr().err
