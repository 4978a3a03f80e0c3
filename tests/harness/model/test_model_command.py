"""The command that explores the model and prints what it visited."""

from __future__ import annotations

import pytest

from streamer_reference.core.states import TRANSITIONS
from streamproof.errors import ExitCode
from streamproof.model import __main__ as command
from streamproof.model.state import Budget, Options

TABLE = "streamer_reference.core.states:TRANSITIONS"


def run(*arguments: str) -> tuple[ExitCode, str]:
    """The exit code and all that was written."""
    written: list[str] = []
    return command.main(arguments, written.append), "".join(written)


def test_the_mutants_are_printed_with_their_traces() -> None:
    """Each wrong protocol is named, with the invariant and the steps to it."""
    code, text = run("--table", TABLE, "--mutants")
    assert code is ExitCode.HOLDS
    assert "24 of 24 mutants found" in text
    assert "  broken: the acknowledgment comes first (ASYNC-2)\n     1. the router stores" in text


def test_the_states_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is of one request and of two, for each configuration."""
    monkeypatch.setattr(command, "QUICK", {"small": Options(Budget(crashes=1))})
    code, text = run("--table", TABLE, "--quick")
    assert code is ExitCode.HOLDS
    assert "small: crashes 1\n    one request " in text
    assert " steps: " in text


def test_a_wrong_table_is_broken() -> None:
    """A violation is printed with its trace, and the exit code says so."""
    wrong = {**TRANSITIONS, "COMPLETED": {"cancelled": "CANCELLED"}}
    written: list[str] = []
    configurations = {"cancel": Options(Budget(), cancels=1, failures_max=1, prompt=True)}
    assert not command.judge(wrong, configurations, written.append)
    assert (
        "cancel: a handler that fails once, a cancel of each request, nothing is slow\n  broken:"
        in written[0]
    )


def test_a_mutant_that_is_not_found_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that lets a mistake pass proves nothing, so that is a failure too."""
    harmless = {mutant: Options(Budget(), prompt=True) for mutant in command.MUTANTS}
    monkeypatch.setattr(command, "MUTANTS", harmless)
    code, text = run("--table", TABLE, "--mutants")
    assert code is ExitCode.BROKEN
    assert "NOT FOUND: the sweeper does not hand over again what nobody claimed" in text


@pytest.mark.parametrize("name", ["no.such:TABLE", "json:NO_TABLE", "json:loads", "json"])
def test_what_is_no_table_is_a_usage_error(name: str) -> None:
    """The name must lead to a mapping."""
    code, text = run("--table", name)
    assert code is ExitCode.USAGE
    assert text.startswith(f"The table {name} cannot be loaded: ")
