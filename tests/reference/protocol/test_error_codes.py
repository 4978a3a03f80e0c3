"""The registry of codes, and the exceptions that carry them."""

from __future__ import annotations

import pytest

from streamer_reference.protocol.errors import (
    ERROR_CODES,
    FieldError,
    HandlerError,
    RetryableError,
    StreamerError,
    ValidationError,
)

TABLE = {
    (False, True): "VALIDATION_ERROR INVALID_ACTION NOT_FOUND ALREADY_ENDED UNAUTHORIZED FORBIDDEN"
    " DUPLICATE_REQUEST",
    (True, True): "RATE_LIMITED SERVICE_UNAVAILABLE",
    (True, False): "TIMEOUT STORAGE_ERROR",
    (False, False): "INTERNAL_ERROR PROCESSING_FAILED CANCELLED RESULT_TOO_LARGE",
}


def test_the_registry_is_the_contracts_table():
    """Every code with its two answers, and no other code."""
    found: dict[tuple[bool, bool], set[str]] = {}
    for code in ERROR_CODES.values():
        found.setdefault((code.retryable, code.definite), set()).add(code.code)
    assert found == {key: set(codes.split()) for key, codes in TABLE.items()}


def test_retry_is_always_there_and_a_pause_only_when_it_helps():
    """`after_ms` stands only beside `retryable: true`."""
    for code in ERROR_CODES.values():
        error = StreamerError(code.code).to_json()
        assert error["message"] == code.meaning
        assert error["details"] == {}
        assert error["retry"]["retryable"] is code.retryable
        assert ("after_ms" in error["retry"]) is code.retryable
    assert StreamerError("RATE_LIMITED", after_ms=7).to_json()["retry"]["after_ms"] == 7
    assert StreamerError("OF_A_TEAM").message == "OF_A_TEAM"


def test_a_handlers_error_keeps_its_own_words():
    """Code, message and details are the handler's; a code must look like one, and end a request."""
    error = HandlerError("OUT_OF_PAPER", "refill", {"tray": 2}, retryable=True)
    assert error.to_json() == {
        "code": "OUT_OF_PAPER",
        "message": "refill",
        "details": {"tray": 2},
        "retry": {"retryable": True, "after_ms": 1000},
    }
    assert error.another_attempt
    assert not HandlerError("TIMEOUT").another_attempt
    assert RetryableError("later").code == "PROCESSING_FAILED"
    for code in ("", "lower", "A-B", "A" * 65, "A\n", "DUPLICATE_REQUEST"):
        with pytest.raises(ValueError, match="no error code"):
            HandlerError(code)


def test_a_validation_error_names_every_field():
    """`details.fields` has one entry for each."""
    error = ValidationError([FieldError("a", "x"), FieldError("b", "y")], "r-1")
    fields = [{"field": "a", "message": "x"}, {"field": "b", "message": "y"}]
    assert error.details == {"fields": fields}
    assert error.request_id == "r-1"
