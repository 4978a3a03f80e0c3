"""Scenarios are found in the tree and in a wheel."""

from __future__ import annotations

import pytest

from streamproof import config
from streamproof.errors import UsageError
from streamproof.load import paths


def test_the_tree_has_its_scenarios():
    """In the tree the folder beside the harness is found, with the request scenario."""
    assert "request" in paths.names(paths.scenarios())


def test_a_scenario_and_the_built_in_default_name_the_same_target():
    """`streamproof config` shows the target that the scenario is judged by."""
    text = (paths.scenarios() / "request.py").read_text(encoding="utf-8")
    default = config.load(folder=paths.scenarios()).thresholds["request.latency_ms"]
    assert f'latency_ms = "{default}"' in text


def test_the_wheel_comes_before_the_tree_and_helpers_are_no_scenarios(tmp_path):
    """The first folder that exists counts; files with an underscore are helpers."""
    (tmp_path / "one.py").touch()
    (tmp_path / "_shared.py").touch()
    assert paths.scenarios((tmp_path / "none", tmp_path)) == tmp_path
    assert paths.names(tmp_path) == ["one"]


def test_names_choose_files(tmp_path):
    """No name is all of them, a name is one, a slip is asked back."""
    for name in ("request", "send"):
        (tmp_path / f"{name}.py").touch()
    assert [file.stem for file in paths.files([], tmp_path)] == ["request", "send"]
    assert paths.files(["send"], tmp_path) == [tmp_path / "send.py"]
    with pytest.raises(UsageError, match="no scenario reqest") as raised:
        paths.files(["reqest"], tmp_path)
    assert "request" in raised.value.hint
    with pytest.raises(UsageError) as raised:
        paths.files(["zzz"], tmp_path)
    assert "scenarios: request, send" in raised.value.hint


def test_no_scenarios_anywhere_is_said(tmp_path):
    """A broken installation is named as such."""
    with pytest.raises(UsageError, match="not installed"):
        paths.scenarios((tmp_path / "none",))
