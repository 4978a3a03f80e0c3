"""The built-in dialect spells roles and reads outcomes."""

from __future__ import annotations

import pytest

from streamproof.dialect import Kind, Role, StreamerDialect

NONCE = {"nonce": "n"}


@pytest.mark.parametrize(
    ("role", "probe", "action"),
    [
        (Role.SHORT, True, "echo"),
        (Role.LONG, True, "probe.async"),
        (Role.LONG, False, "echo_async"),
        (Role.FAILING, True, "probe.async"),
        (Role.BROADCASTING, True, "broadcast"),
    ],
)
def test_roles_are_spelled(role, probe, action) -> None:
    """Each role has an action, and carries its nonce."""
    dialect = StreamerDialect(probe)
    message = dialect.request(role, "r", NONCE)
    assert (message["id"], message["action"]) == ("r", action)
    assert role is Role.FAILING or "n" in str(message["payload"])
    assert role in dialect.roles


def test_without_the_probe_pack_nothing_fails_on_request() -> None:
    """The failing role is not bound then."""
    assert Role.FAILING not in StreamerDialect(False).roles


@pytest.mark.parametrize(
    ("message", "kind", "final"),
    [
        ({"type": "acknowledgment"}, Kind.ACKNOWLEDGMENT, False),
        ({"type": "progress", "percentage": 5}, Kind.PROGRESS, False),
        ({"type": "response", "data": {"echo": NONCE}}, Kind.ANSWER, True),
        ({"type": "complete", "result": NONCE}, Kind.RESULT, True),
        ({"type": "broadcast", "payload": NONCE}, Kind.BROADCAST, False),
        ({"type": "error", "error": {"code": "X"}}, Kind.FAILURE, True),
        ({"type": "error", "error": {"code": "DUPLICATE_REQUEST"}}, Kind.FAILURE, False),
        ({"type": "error", "error": "X"}, Kind.FAILURE, True),
        ({"type": "hello"}, Kind.UNKNOWN, False),
        ({"type": 7}, Kind.UNKNOWN, False),
        ([], Kind.UNKNOWN, False),
        (None, Kind.UNKNOWN, False),
    ],
)
def test_messages_are_read(message, kind, final) -> None:
    """Whatever a server sends is read as something, and never raises."""
    reading = StreamerDialect().read(message)
    assert (reading.kind, reading.final) == (kind, final)
    if kind in (Kind.ANSWER, Kind.RESULT, Kind.BROADCAST):
        assert reading.value == NONCE


def test_members_of_other_types_are_absent() -> None:
    """An id that is no text and a number that is none are not taken for one."""
    reading = StreamerDialect().read({"type": "response", "request_id": 7, "sequence": True})
    assert reading.request_id is reading.sequence is reading.value is None
    assert StreamerDialect().read({"type": "response", "data": 3}).value == 3
