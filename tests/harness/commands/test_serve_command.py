"""`streamproof serve`: what it refuses before it opens anything. A running one: tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamproof import cli
from streamproof.commands import serve


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--port", "65536"),
        ("--port", "-1"),
        ("--rate-limit", "-1"),
        ("--in-flight-limit", "-5"),
        ("--workers", "0"),
        ("--workers", "65"),
    ],
)
def test_a_number_out_of_range_is_named(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, the option and its bounds, and nothing made."""
    state = tmp_path / "state"
    assert cli.main(["serve", "--state", str(state), option, value]) == 2
    error = capsys.readouterr().err
    assert f"{option} {value} is out of range" in error
    assert not state.exists()


def test_a_state_folder_that_cannot_be_made_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with the folder, and the option that names another."""
    (tmp_path / "file").write_text("")
    assert cli.main(["serve", "--state", str(tmp_path / "file" / "state")]) == 2
    error = capsys.readouterr().err
    assert str(tmp_path / "file" / "state") in error
    assert "--state" in error


def test_a_state_folder_that_is_a_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, what it is instead, and the file as it was."""
    (tmp_path / "file").write_text("mine")
    assert cli.main(["serve", "--reference", "--state", str(tmp_path / "file")]) == 2
    assert f"{tmp_path / 'file'} is a file, not a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_file_of_handlers_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 before anything is made."""
    missing = str(tmp_path / "none.py")
    assert cli.main(["serve", "--state", str(tmp_path / "s"), "--handlers", missing]) == 2
    assert f"there is no file {missing}" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("x = 1\ndef f(:\n", ":2", "SyntaxError"),
        ("x = 1\n\nimport nowhere_at_all\n", ":3", "nowhere_at_all"),
        ("x = 1\n", "", "no Registry"),
        (
            """from streamer_reference.handlers import Registry
registry = Registry()
registry.handler('echo')(lambda job: None)
""",
            "",
            "'echo' has a handler already",
        ),
    ],
)
def test_a_file_of_handlers_that_does_not_load_is_refused(
    text: str, line: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with the file, the line and the reason, and nothing made."""
    file = tmp_path / "broken.py"
    file.write_text(text)
    assert cli.main(["serve", "--state", str(tmp_path / "s"), "--handlers", str(file)]) == 2
    error = capsys.readouterr().err
    assert f"{file}{line}: " in error
    assert reason in error
    assert not (tmp_path / "s").exists()


def test_traces_without_their_library_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2 with the line that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    words = ["serve", "--state", str(tmp_path / "s"), "--trace", str(tmp_path / "spans")]
    assert cli.main(words) == 2
    assert "pip install 'streamproof[traces]'" in capsys.readouterr().err


def test_a_file_of_spans_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with one line and the next step, before anything is made."""
    path = tmp_path / "none" / "spans"
    words = ["serve", "--reference", "--state", str(tmp_path / "s"), "--trace", str(path)]
    assert cli.main(words) == 2
    fault, step = capsys.readouterr().err.splitlines()
    assert fault == f"streamproof: --trace {path} cannot be written: No such file or directory"
    assert "folder" in step
    assert not (tmp_path / "s").exists()


def test_a_missing_file_of_functions_is_named_with_its_own_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`serve` has no --config."""
    assert cli.main(["serve", "--functions", str(tmp_path / "none.toml")]) == 2
    error = capsys.readouterr().err
    assert "name another file with --functions" in error
    assert "--config" not in error


FUNCTIONS = '[api.routes]\n"$default" = "f"\n[functions.f]\npython = "os:getcwd"\n'


def test_options_of_the_reference_are_refused_where_functions_are_hosted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would change nothing, and nobody would see it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "streamproof.toml").write_text(FUNCTIONS)
    assert cli.main(["serve", "--rate-limit", "7"]) == 2
    error = capsys.readouterr().err
    assert "--rate-limit is the reference's" in error
    assert "--reference" in error
    assert not (tmp_path / ".streamproof").exists()


def test_what_is_served_is_said_in_a_few_names() -> None:
    """How many functions, of which file, and not a screen of them."""
    file = Path("system.toml")
    assert serve.functions_of(["a"], file) == "1 function (a) of system.toml"
    assert serve.functions_of(["a", "b"], file) == "2 functions (a, b) of system.toml"
    many = serve.functions_of([f"f{n}" for n in range(9)], file)
    assert many == "9 functions (f0, f1, f2, f3, f4, f5, f6, f7, ...) of system.toml"


def test_a_file_without_functions_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who names a file wants what is in it, not the reference."""
    (tmp_path / "empty.toml").write_text("")
    assert cli.main(["serve", "--functions", str(tmp_path / "empty.toml")]) == 2
    assert "empty.toml describes no functions" in capsys.readouterr().err


def test_a_description_that_is_wrong_lets_the_folder_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The next start, with the file mended, finds the state free."""
    file = tmp_path / "system.toml"
    file.write_text(FUNCTIONS.replace("os:getcwd", "os:none"))
    words = ["serve", "--functions", str(file), "--state", str(tmp_path / "s"), "--no-tls"]
    for _ in range(2):
        assert cli.main(words) == 2
        error = capsys.readouterr().err
        assert "system.toml: functions.f.python names none" in error
