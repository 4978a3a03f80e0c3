"""The error codes are the reference's too: two lists of one contract."""

from __future__ import annotations

from streamer_reference.protocol.errors import ERROR_CODES
from streamproof.dialect import codes


def test_the_codes_are_the_references() -> None:
    """Same codes, and of each the same may be concluded."""
    assert set(codes.CODES) == set(ERROR_CODES)
    assert {c for c, entry in ERROR_CODES.items() if entry.retryable} == codes.RETRYABLE
    assert {c for c, entry in ERROR_CODES.items() if entry.definite} == codes.DEFINITE
