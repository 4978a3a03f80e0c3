"""What a client's errors say to a reader."""

from __future__ import annotations

import pytest

from streamer_reference.client.errors import RequestFailedError


def _error(details, code="VALIDATION_ERROR"):
    return str(RequestFailedError({"code": code, "message": "Not valid.", "details": details}))


def test_a_validation_error_names_its_bad_fields():
    """Its text alone says what to mend; `details` has the same for a program."""
    fields = [
        {"field": "payload.count", "message": "must be 1 to 100"},
        {"field": "id", "message": "is missing"},
    ]
    said = _error({"fields": fields})
    assert said == "VALIDATION_ERROR: Not valid. (payload.count must be 1 to 100; id is missing)"
    assert _error({"fields": fields}, code="NOT_FOUND") == "NOT_FOUND: Not valid."
    assert _error({"fields": fields * 1000}).count("payload.count") == 5


@pytest.mark.parametrize("details", [{}, [], {"fields": "x"}, {"fields": [1, None]}])
def test_details_of_another_shape_do_no_harm(details):
    """A server may say less, or something else."""
    assert _error(details) == "VALIDATION_ERROR: Not valid."
