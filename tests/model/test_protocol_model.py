"""The reference's own transition table in the model: nothing breaks, and each mutant does."""

from __future__ import annotations

import copy

import pytest

from streamer_reference.core.states import TRANSITIONS
from streamproof.model.configurations import MUTANTS, QUICK
from streamproof.model.explore import LOST, Finding, explore
from streamproof.model.graph import Graph
from streamproof.model.mutants import Mutant
from streamproof.model.protocol import Protocol
from streamproof.model.state import Budget, Options
from streamproof.model.store import Table


def finding(table: Table, options: Options, *mutants: Mutant) -> Finding | None:
    """The first mistake of a model."""
    return explore(Graph(Protocol(table, options, frozenset(mutants)))).finding


@pytest.mark.parametrize("name", QUICK)
def test_every_reachable_state_keeps_the_invariants(name: str) -> None:
    """Sections 3 and 8 of the contract hold, and the outcome can be reached from everywhere."""
    explored = explore(Graph(Protocol(TRANSITIONS, QUICK[name])))
    assert explored.finding is None
    assert explored.states > 100


@pytest.mark.parametrize("mutant", Mutant, ids=lambda mutant: mutant.name)
def test_each_wrong_protocol_is_found(mutant: Mutant) -> None:
    """A mutant breaks an invariant, within a trace that a person can read."""
    found = finding(TRANSITIONS, MUTANTS[mutant], mutant)
    assert found is not None
    assert 2 <= len(found.trace) <= 15


@pytest.mark.parametrize("mutant", Mutant, ids=lambda mutant: mutant.name)
def test_the_right_protocol_passes_where_a_mutant_fails(mutant: Mutant) -> None:
    """What finds a mutant is the mistake, not the faults that it is shown with."""
    assert finding(TRANSITIONS, MUTANTS[mutant]) is None


def table() -> dict[str, dict[str, str]]:
    """The reference's table, to be changed."""
    return copy.deepcopy(
        {str(s): {str(e): str(t) for e, t in to.items()} for s, to in TRANSITIONS.items()}
    )


def test_a_terminal_status_that_can_be_cancelled_is_found() -> None:
    """The transitions are the table's: a wrong table is a wrong protocol."""
    wrong = table()
    wrong["COMPLETED"]["cancelled"] = "CANCELLED"
    found = finding(wrong, Options(Budget(), cancels=1))
    assert found is not None
    assert found.broken.startswith("a terminal status never changes")


def test_a_table_that_lets_a_held_request_be_claimed_is_found() -> None:
    """A second claim makes a second holder with the same fencing token."""
    wrong = table()
    wrong["PROCESSING"]["claimed"] = "PROCESSING"
    assert finding(wrong, Options(Budget(crashes=1))) is not None


def test_a_table_without_a_way_back_loses_requests() -> None:
    """Without `retried` what a dead worker held stays PROCESSING."""
    wrong = table()
    del wrong["PROCESSING"]["retried"]
    found = finding(wrong, Options(Budget(crashes=1)))
    assert found is not None
    assert found.broken == LOST


def test_a_trace_is_the_shortest_and_readable() -> None:
    """Every step is a line; nothing that the mistake does not need is in it."""
    found = finding(TRANSITIONS, MUTANTS[Mutant.PENDING_FIRST], Mutant.PENDING_FIRST)
    assert found == Finding(
        "the acknowledgment comes first (ASYNC-2)",
        (
            "the router stores the request",
            "worker 1 is invoked and claims it",
            "worker 1: the handler reports; it stores 1 (progress by attempt 1)",
            "worker 1 posts 1 (progress by attempt 1)",
        ),
    )
