"""`streamproof config`: what is in force, and from where."""

from __future__ import annotations

import json

import pytest

from streamproof import cli, config


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a configuration file that holds a secret."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "streamproof.toml").write_text('[auth]\ntoken = "ey.se.cret"\n')


def test_every_key_has_its_value_and_its_source(capsys):
    """One line per key, and no secret among them."""
    assert cli.main(["config", "--issuer", "https://issuer.test"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["auth.issuer"].split() == ["auth.issuer", '"https://issuer.test"', "option"]
    assert lines["load.seed"].split() == ["load.seed", "1", "default"]
    assert lines["auth.token"].endswith("streamproof.toml")
    assert "cret" not in out


def test_json_says_the_same(capsys):
    """For scripts the same as JSON, secrets hidden too."""
    assert cli.main(["config", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["load.seed"] == {"value": 1, "source": "default"}
    assert json.loads(out)["auth.token"]["value"] == config.SECRET_SHOWN
    assert "cret" not in out


def test_the_schema_can_be_had(capsys):
    """An editor can be given the schema."""
    assert cli.main(["config", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == config.schema()


def test_a_wrong_file_is_a_wrong_start(tmp_path, capsys):
    """A typing error in the file is found by the command that shows what is in force."""
    (tmp_path / "streamproof.toml").write_text("[laod]\nseed = 1\n")
    assert cli.main(["config"]) == 2
    assert "did you mean `load.seed`?" in capsys.readouterr().err
