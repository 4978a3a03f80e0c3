"""The command line's one entry: finding commands, and turning every ending into an exit code."""

from __future__ import annotations

import argparse
import subprocess
import sys
import types

import pytest

from streamproof import cli, commands
from streamproof.errors import ExitCode, HarnessError, UsageError


@pytest.fixture
def ending(monkeypatch):
    """Replace every command by one that ends as the test says; answers what it was given."""
    state = types.SimpleNamespace(error=None, code=ExitCode.HOLDS, args=None)

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--size", choices=("smoke", "full"))
        parser.add_argument("--count", type=int)

    def run(args: argparse.Namespace) -> ExitCode:
        state.args = args
        if state.error is not None:
            raise state.error
        return state.code

    module = types.SimpleNamespace(
        HELP="do it",
        EXAMPLES="\nstreamproof verify --size full\n",
        add_arguments=add_arguments,
        run=run,
    )
    monkeypatch.setattr(commands, "command", lambda name: module)
    return state


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_overview_names_every_command(words, ending, capsys):
    """Help, asked for or not, lists all commands and ends well."""
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in commands.NAMES)


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_version_is_one_line(word, capsys):
    """The version is printed alone."""
    assert cli.main([word]) == 0
    assert capsys.readouterr().out.startswith("streamproof ")


def test_version_without_an_installed_distribution(monkeypatch):
    """A tree that is only on the path says that it has no version."""

    def absent(name):
        raise cli.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(cli.metadata, "version", absent)
    assert cli.version() == "0+unknown"


@pytest.mark.parametrize("code", list(ExitCode))
def test_a_commands_code_is_the_exit_code(code, ending):
    """What a command answers is how the process ends."""
    ending.code = code
    assert cli.main(["verify", "--size", "full"]) == int(code)
    assert ending.args.size == "full"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["verfy"], "there is no command verfy", "did you mean `verify`?"),
        (["zzzz"], "there is no command zzzz", "commands: verify, contract"),
        (["verify", "--siz", "full"], "unknown option --siz", "did you mean `--size`?"),
        (["verify", "--qqqq=1"], "unknown option --qqqq", "see `streamproof verify --help`"),
        (["verify", "there"], "unknown argument there", "see `streamproof verify --help`"),
        (["verify", "--size", "huge"], "invalid choice: 'huge'", "see `streamproof verify --help`"),
        (["verify", "--count", "x"], "invalid int value", "see `streamproof verify --help`"),
    ],
)
def test_wrong_words_get_one_line_and_a_hint(words, message, hint, ending, capsys):
    """A wrong start is one clear line, a next step, and exit code 2."""
    assert cli.main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("streamproof: ")
    assert message in lines[0]
    assert hint in lines[1]


def test_help_of_a_command_shows_its_examples(ending, capsys):
    """A command's help is its sentence, its options and its examples."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["verify", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "Do it." in out
    assert "examples:\n  streamproof verify --size full" in out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            UsageError("no such file", "name another"),
            2,
            ["streamproof: no such file", "  name another"],
        ),
        (HarnessError("it broke"), 3, ["streamproof: it broke"]),
        (KeyboardInterrupt(), 130, ["streamproof: interrupted"]),
    ],
)
def test_errors_become_lines(error, code, said, ending, capsys):
    """Every error that is ours is told in a line or two, without a traceback."""
    ending.error = error
    assert cli.main(["verify"]) == code
    assert capsys.readouterr().err.splitlines() == said


def test_a_fault_of_the_harness_is_no_verdict(ending, capsys):
    """A bug of ours shows its traceback and ends as 3, never as a verdict on the target."""
    ending.error = ZeroDivisionError("division by zero")
    assert cli.main(["verify"]) == 3
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert err.splitlines()[-1].endswith("nothing is known about the target")


def test_a_missing_extra_names_the_line_that_installs_it(ending, capsys):
    """A library that an extra brings is asked for by the extra's name."""
    ending.error = ModuleNotFoundError("No module named 'locust'", name="locust.env")
    assert cli.main(["load"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "streamproof: this needs locust, which is not installed",
        "  python -m pip install 'streamproof[load]'",
    ]


def test_a_missing_module_of_our_own_is_a_fault(ending, capsys):
    """A module that no extra brings is a bug, not a missing extra."""
    ending.error = ModuleNotFoundError("No module named 'nowhere'", name="nowhere")
    assert cli.main(["load"]) == 3
    assert "nothing is known about the target" in capsys.readouterr().err


def test_every_extra_in_the_table_exists():
    """The table of extras names extras that the distribution has."""
    assert set(cli.EXTRA_OF.values()) <= {"load", "serve", "aws"}


def test_a_reader_that_leaves_ends_without_a_verdict():
    """`streamproof ... | head` ends quietly, and not as if the target had been judged."""
    script = (
        "import os, sys\n"
        "from streamproof import cli, terminal\n"
        "cli.overview = lambda: 'x' * 10\n"
        "read, write = os.pipe()\n"
        "os.dup2(write, 1); os.close(write); os.close(read)\n"
        "sys.exit(cli.main(['--help']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 3
    assert done.stderr == b""


@pytest.mark.parametrize("name", commands.NAMES)
def test_every_command_keeps_the_protocol(name):
    """Each command has one line of help, examples of itself, options, and something to run."""
    module = commands.command(name)
    assert module.HELP
    assert "\n" not in module.HELP
    assert not module.HELP.endswith(".")
    examples = module.EXAMPLES.strip().splitlines()
    assert examples
    assert all(line.strip().startswith(f"streamproof {name}") for line in examples)
    assert callable(module.run)
    assert f"streamproof {name}" in cli.parser_of(name).format_help()


def test_help_imports_nothing_heavy():
    """`streamproof --help` stays fast: none of the slow libraries is imported for it."""
    heavy = ["jinja2", "matplotlib", "pytest", "hypothesis", "websockets", "rich", "jwt"]
    heavy += ["locust", "cryptography", "uvloop", "numpy", "boto3"]
    script = (
        "import sys\nfrom streamproof import cli\ncode = cli.main(['--help'])\n"
        f"print(sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stderr.strip() == "[]"
