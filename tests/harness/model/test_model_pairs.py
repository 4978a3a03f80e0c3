"""Counting the states of two requests by histories gives what visiting them gives."""

from __future__ import annotations

import pytest

from streamer_reference.core.states import TRANSITIONS
from streamproof.model.graph import Graph
from streamproof.model.pairs import count, families, visit
from streamproof.model.protocol import Protocol
from streamproof.model.state import Budget, Options

SMALL = {
    "nothing": Options(Budget()),
    "crash": Options(Budget(crashes=1), progress=False, prompt=True),
    "pause and loss": Options(Budget(losses=1, pauses=1), progress=False, prompt=True),
    "connection": Options(Budget(disconnects=1, duplicates=1), progress=False, prompt=True),
    "cancel and store": Options(Budget(answers=1), progress=False, prompt=True, cancels=1),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_count_is_exact(name: str) -> None:
    """What two requests share is all that ties them: the products are the states."""
    graph = Graph(Protocol(TRANSITIONS, SMALL[name]))
    assert count(graph) == visit(graph) > 100


def test_a_history_is_bounded_by_the_faults() -> None:
    """A pause is followed by going on, then by a renewal, or by nothing; there is no second one."""
    graph = Graph(Protocol(TRANSITIONS, SMALL["pause and loss"]))
    assert len(list(families(graph))) == 1 + 2 * 3
