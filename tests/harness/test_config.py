"""What is in force: defaults, the file, the command line, and where each value came from."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from streamproof import config
from streamproof.errors import UsageError


def arguments(*words: str) -> argparse.Namespace:
    """The options of a command that speaks to a target."""
    parser = argparse.ArgumentParser()
    config.add_target_arguments(parser)
    return parser.parse_args(words)


def test_defaults_need_no_file(tmp_path):
    """In an empty folder every value is the schema's own."""
    settings = config.load(folder=tmp_path)
    assert settings["target"] == "embedded"
    assert settings["load.size"] == "full"
    assert settings["auth.token"] is None
    assert settings.thresholds == {"request.latency_ms": "p(99) < 10"}
    assert {s.source for s in settings.settings.values()} == {"default"}


def test_options_win_over_the_file_and_the_file_over_defaults(tmp_path):
    """The order of precedence is option, file, default, key by key."""
    (tmp_path / "streamproof.toml").write_text(
        'target = "ws://127.0.0.1:1/dev"\n[load]\nseed = 7\nsize = "smoke"\n'
        '[thresholds]\nrequest.latency_ms = "p(99.9) <= 25"\nsend.latency_ms = "p(50) < 1.5"\n'
    )
    settings = config.load(options={"load.size": "full", "auth.issuer": None}, folder=tmp_path)
    found = {key: (s.value, s.source) for key, s in settings.settings.items()}
    assert found["target"] == ("ws://127.0.0.1:1/dev", "streamproof.toml")
    assert found["load.seed"] == (7, "streamproof.toml")
    assert found["load.size"] == ("full", "option")
    assert found["auth.issuer"] == (None, "default")
    assert settings.thresholds == {
        "request.latency_ms": "p(99.9) <= 25",
        "send.latency_ms": "p(50) < 1.5",
    }


@pytest.mark.parametrize("named", [False, True])
def test_pyproject_holds_the_same_table(tmp_path, named):
    """`[tool.streamproof]` of a pyproject.toml is read like the file, found or named."""
    file = tmp_path / "pyproject.toml"
    file.write_text("[tool.streamproof.load]\nseed = 3\n")
    settings = config.load(file) if named else config.load(folder=tmp_path)
    assert settings.settings["load.seed"].source == "pyproject.toml"
    assert settings["load.seed"] == 3


def test_a_pyproject_of_somebody_else_is_no_configuration(tmp_path):
    """A pyproject.toml without our table, or with another shape, sets nothing."""
    (tmp_path / "pyproject.toml").write_text("[tool]\nstreamproof = 1\n")
    assert config.load(folder=tmp_path)["load.seed"] == 1


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("tarjet = 'x'", "unknown key tarjet", "did you mean `target`?"),
        ("[auth]\nisuer = 'x'", "unknown key auth.isuer", "did you mean `auth.issuer`?"),
        ("xxxxxxxxxxxx = 1", "unknown key xxxxxxxxxxxx", "known: target"),
        ("[load]\nseed = 'x'", "load.seed must be a integer", "arrival"),
        ("[load]\nseed = true", "load.seed must be a integer", "arrival"),
        ("[load]\nseed = -1", "load.seed must be from 0 to 4294967295", "arrival"),
        ("[load]\nsize = 'huge'", "load.size must be one of smoke, full", "load run"),
        ("target = ''", "target must not be empty", "judged"),
        ("[safety]\nenvironment = 'x'", "must be one of dev, test, staging, production", ""),
        ("[thresholds]\nrequest.latency_ms = 'fast'", 'must read like "p(99) < 10"', ""),
        ("[thresholds]\nlatency_ms = 'p(99) < 1'", "unknown key thresholds.latency_ms", ""),
        ("target =", "is not TOML", "mend"),
    ],
)
def test_a_wrong_file_is_told_by_key_and_next_step(tmp_path, text, message, hint):
    """Every fault of the file is one line that names the file and the key."""
    (tmp_path / "streamproof.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        config.load(folder=tmp_path)
    assert "streamproof.toml" in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_file_that_cannot_be_read(tmp_path):
    """A file that was named and is not there is a wrong start."""
    with pytest.raises(UsageError, match="cannot read"):
        config.load(tmp_path / "none.toml")


def test_a_file_without_an_end(tmp_path):
    """What is read of a file is bounded."""
    file = tmp_path / "streamproof.toml"
    file.write_bytes(b"#" * (config.FILE_BYTES_MAX + 1))
    with pytest.raises(UsageError, match="larger than 256 KiB"):
        config.load(file)


def test_bytes_that_are_no_text(tmp_path):
    """A file in another encoding is no TOML."""
    file = tmp_path / "streamproof.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="is not TOML"):
        config.load(file)


def test_arguments_become_settings(tmp_path, monkeypatch):
    """The target options of a command are keys of the configuration."""
    monkeypatch.chdir(tmp_path)
    args = arguments("--target", "ws://h/x", "--issuer", "iss", "--environment", "dev")
    settings = config.from_arguments(args, load__seed=9, load__size=None)
    assert settings["target"] == "ws://h/x"
    assert settings["load.seed"] == 9
    assert settings.settings["auth.issuer"].source == "option"


def test_a_wrong_option_is_told_like_a_wrong_key(tmp_path, monkeypatch):
    """An environment that does not exist is refused wherever it was said."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"option: safety\.environment must be one of"):
        config.from_arguments(arguments("--environment", "moon"))


def test_given_words_repeat_what_was_said():
    """The options of one command can be handed to another, unchanged."""
    words = [
        "--target",
        "ws://h/x",
        "--token",
        "t",
        "--i-accept-load-on",
        "h",
        "--config",
        "c.toml",
    ]
    assert config.given_words(arguments(*words)) == words
    assert config.given_words(arguments()) == []


def test_target_options_hold_what_the_settings_say(tmp_path):
    """Settings become the options of a target, with the key as a path."""
    settings = config.load(
        options={"auth.jwt_key": "dev.pem", "auth.issuer": "iss", "safety.environment": "dev"},
        folder=tmp_path,
    )
    options = config.target_options(settings, "prod.example")
    assert options.jwt_key == Path("dev.pem")
    assert (options.issuer, options.environment) == ("iss", "dev")
    assert options.accept_load_on == "prod.example"
    assert config.target_options(config.load(folder=tmp_path)).jwt_key is None


def test_a_secret_is_never_shown():
    """The value of a secret stays hidden, and its absence is told."""
    assert config.Setting("auth.token", "abc", "option", secret=True).shown == "(set, not shown)"
    assert config.Setting("auth.token", None, "default", secret=True).shown == "(not set)"


def test_the_schema_is_one_that_validators_take():
    """The schema that ships names its dialect and closes its objects."""
    schema = config.schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
