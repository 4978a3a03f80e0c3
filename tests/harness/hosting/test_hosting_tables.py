"""What a description file may say: each mistake is one line with file, key and next step."""

from __future__ import annotations

import pytest

from streamproof import config
from streamproof.errors import UsageError
from streamproof.hosting.tables import spell

GOOD = """
[api.routes]
"$default" = "echo"
[functions.echo]
command = ["./bootstrap"]
"""


def load(tmp_path, text):
    """The settings of a file with this text."""
    (tmp_path / "streamproof.toml").write_text(text)
    return config.load(folder=tmp_path)


def test_what_is_not_given_has_the_default_of_aws_or_of_the_gateway(tmp_path):
    """Lambda's timeout, memory and retries; every table is there."""
    hosted = load(tmp_path, GOOD).hosted
    assert hosted is not None
    assert hosted.path == tmp_path / "streamproof.toml"
    echo = hosted.tables["functions"]["echo"]
    assert (echo["timeout_s"], echo["memory_mb"], echo["retries_async"]) == (3, 128, 2)
    assert hosted.tables["api"]["authorizer"] is None
    assert hosted.tables["schedules"] == []
    assert hosted.tables["limits"]["connects_per_s"] is None


def test_the_settings_in_force_show_what_is_hosted_and_hide_the_environment(tmp_path):
    """Each value with its source; a variable of a function may be a secret."""
    text = GOOD + 'environment = { KEY = "x" }\n[[schedules]]\nfunction = "echo"\nevery_s = 60\n'
    shown = {key: (s.shown, s.source) for key, s in load(tmp_path, text).settings.items()}
    assert shown['api.routes."$default"'] == ('"echo"', "streamproof.toml")
    assert shown["functions.echo.timeout_s"] == ("3", "default")
    assert shown["functions.echo.environment.KEY"] == (config.SECRET_SHOWN, "streamproof.toml")
    assert shown["schedules"][0] == '[{"function": "echo", "every_s": 60}]'
    assert shown["api.authorizer"] == ("(not set)", "default")


def test_pyproject_describes_functions_too(tmp_path):
    """Under `[tool.streamproof]`, as every other setting."""
    text = GOOD.replace("[api.", "[tool.streamproof.api.").replace(
        "[functions.", "[tool.streamproof.functions."
    )
    (tmp_path / "pyproject.toml").write_text(text)
    hosted = config.load(folder=tmp_path).hosted
    assert hosted is not None
    assert list(hosted.tables["functions"]) == ["echo"]


def test_a_file_without_functions_hosts_nothing(tmp_path):
    """Then `serve` takes the reference."""
    assert load(tmp_path, "[load]\nseed = 7\n").hosted is None


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (GOOD + "hadler = 'a.b'", "unknown key functions.echo.hadler", "did you mean `handler`?"),
        (GOOD + "zzzzzz = 1", "unknown key functions.echo.zzzzzz", "known: handler, command"),
        (GOOD + "timeout_s = '3'", "functions.echo.timeout_s must be a number", "Seconds"),
        (GOOD + "timeout_s = true", "functions.echo.timeout_s must be a number", ""),
        (GOOD + "timeout_s = 901", "functions.echo.timeout_s must be from 0.001 to 900", ""),
        (GOOD + "timeout_s = nan", "functions.echo.timeout_s must be from 0.001 to 900", ""),
        (GOOD + "warm = 1.5", "functions.echo.warm must be a whole number", ""),
        (GOOD + "environment = { A = 1 }", "functions.echo.environment.A must be a text", ""),
        (GOOD + "environment = 'A=1'", "functions.echo.environment must be a table", "Variables"),
        (GOOD + "directory = ''", "functions.echo.directory must not be empty", ""),
        (GOOD + "directory = 'a\\u0000'".replace("'", '"'), "null character", ""),
        (GOOD + "python = 'app.handler'", "functions.echo.python must be MODULE:FUNCTION", ""),
        (GOOD.replace('["./bootstrap"]', "[]"), "functions.echo.command must not be empty", ""),
        (GOOD.replace('["./bootstrap"]', '"x"'), "functions.echo.command must be a list", ""),
        (GOOD.replace('"./bootstrap"', "1"), "functions.echo.command[0] must be a text", ""),
        (GOOD + '[functions."a b"]', 'functions."a b" must be 1 to 64 letters', "another"),
        (GOOD + "[api.authorizer]\n", "api.authorizer.function is missing", "name of a function"),
        (GOOD + "[[schedules]]\nfunction = 'echo'", "schedules[0].every_s is missing", "Seconds"),
        (GOOD + "[limits]\nidle = 1", "unknown key limits.idle", "did you mean `idle_s`?"),
        ("functions = 1\n[api]\n", "[api] is missing", "together"),
        ("[api.routes]", "[functions] is missing, and there is [api]", "together"),
        ("[functions.echo]", "[api] is missing, and there is [functions]", "together"),
        ("[functions.echo]\n[api]\nstage = 'x'", "api.routes is missing", "route key"),
        (GOOD.replace("[functions", '"$default" = "b"\n[functions'), "not TOML", '"$default" ='),
        (GOOD + "[serve]\ntls = 'yes'", "serve.tls must be a boolean", "wss"),
        ("[api]\nx =", "is not TOML", "mend"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_key_and_next_step(tmp_path, text, message, hint):
    """What is unknown, missing, of the wrong type, out of bounds, or there twice."""
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert "streamproof.toml" in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_a_file_that_is_no_text_is_named(tmp_path):
    """Bytes that are no UTF-8 are no TOML."""
    (tmp_path / "streamproof.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="is not TOML"):
        config.load(folder=tmp_path)


def test_keys_are_spelled_as_toml_wants_them():
    """Quoted only where they must be."""
    assert spell("api.routes", "$connect") == 'api.routes."$connect"'
    assert spell("", "api") == "api"
