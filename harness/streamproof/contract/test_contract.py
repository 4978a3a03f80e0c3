"""Every clause as a test: `pytest --pyargs streamproof.contract --target ...`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamproof.pytest_plugin import conclude

if TYPE_CHECKING:
    import pytest

    from streamproof.results import ClauseResult


def test_clause(streamproof_clause: ClauseResult, request: pytest.FixtureRequest) -> None:
    """The target keeps this clause of the contract."""
    conclude(streamproof_clause, request.config)
