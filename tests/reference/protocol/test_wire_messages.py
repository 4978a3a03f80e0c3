"""What a client may send, and what a server's messages look like."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.protocol import messages
from streamer_reference.protocol.errors import FieldError, StreamerError, ValidationError


def _parse(**members):
    return messages.parse_request(json.dumps({"action": "echo", **members}))


def _bad(text):
    with pytest.raises(ValidationError) as caught:
        messages.parse_request(text)
    return [field.field for field in caught.value.fields], caught.value.request_id


def test_a_request_has_defaults():
    """Only `action` must be there; members nobody knows are ignored."""
    request = _parse(unknown=1)
    assert request == messages.Request(None, "echo", {}, {})
    full = _parse(id="r-1", payload={"a": 1}, metadata={"k": "v"}, type="request")
    assert full == messages.Request("r-1", "echo", {"a": 1}, {"k": "v"})


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128))
def test_every_visible_ascii_id_is_good(request_id):
    """MSG-1: 1 to 128 of 0x21 to 0x7E."""
    assert _parse(id=request_id).id == request_id


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"id": None}, "id"),
        ({"id": ""}, "id"),
        ({"id": "a b"}, "id"),
        ({"id": "a\n"}, "id"),
        ({"id": "é"}, "id"),
        ({"id": "a" * 129}, "id"),
        ({"id": 7}, "id"),
        ({"action": None}, "action"),
        ({"action": ""}, "action"),
        ({"action": "echo\n"}, "action"),
        ({"action": "$connect"}, "action"),
        ({"action": "a" * 65}, "action"),
        ({"action": ["echo"]}, "action"),
        ({"payload": None}, "payload"),
        ({"payload": []}, "payload"),
        ({"metadata": None}, "metadata"),
        ({"metadata": "k"}, "metadata"),
        ({"metadata": {str(n): "v" for n in range(33)}}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata.k"),
        ({"metadata": {"k": None}}, "metadata.k"),
        ({"metadata": {"k": "v" * 1025}}, "metadata.k"),
        ({"metadata": {"k" * 65: "v"}}, "metadata." + "k" * 64),
        ({"type": None}, "type"),
        ({"type": "response"}, "type"),
        ({"type": ["request"]}, "type"),
    ],
)
def test_each_bad_member_is_named(members, field):
    """MSG-2: one field error for each, and null is not absent."""
    fields, request_id = _bad(json.dumps({"action": "echo", "id": "r-1", **members}))
    assert fields == [field]
    assert request_id == (None if field == "id" else "r-1")


def test_all_bad_members_are_named_at_once():
    """A client need not send five times to hear of five mistakes."""
    text = json.dumps({"id": 1, "payload": 2, "metadata": 3, "type": 4})
    assert _bad(text) == (["id", "action", "payload", "type", "metadata"], None)
    for text in ("[]", "1", '"x"', "null", "{"):
        assert _bad(text) == (["$"], None)


def test_metadata_may_be_as_large_as_the_contract_says():
    """32 entries, 64 and 1,024 characters."""
    metadata = {f"{n:02}".ljust(64, "k"): "v" * 1024 for n in range(32)}
    assert _parse(metadata=metadata).metadata == metadata


def test_server_messages_have_the_contracts_members():
    """Section 2, member for member."""
    assert messages.acknowledgment("r", 5) == {
        "type": "acknowledgment",
        "request_id": "r",
        "sequence": 0,
        "timestamp": 5,
        "status": "queued",
        "message": "The request is queued.",
    }
    assert messages.response("r", 5, None)["data"] is None
    bare = messages.progress("r", 1, 5, 45.5, None, {})
    assert set(bare) == {"type", "request_id", "sequence", "timestamp", "percentage"}
    full = messages.progress("r", 1, 5, 45.5, "m", {"k": 1})
    assert (full["message"], full["metadata"]) == ("m", {"k": 1})
    ended = messages.complete("r", 2, 5, {"result": None})
    assert ended["success"] is True
    assert ended["result"] is None
    assert messages.broadcast("b", 5, "u", [1]) == {
        "type": "broadcast",
        "broadcast_id": "b",
        "timestamp": 5,
        "from": {"user_id": "u"},
        "payload": [1],
    }


def test_errors_carry_a_number_only_where_they_end_something():
    """MSG-4: neither a duplicate nor an error without a request has one."""
    invalid = StreamerError("VALIDATION_ERROR")
    assert messages.error(invalid, 5, "r", 0)["sequence"] == 0
    assert "sequence" not in messages.error(invalid, 5, "r", None)
    nameless = messages.error(invalid, 5, None, 0)
    assert "request_id" not in nameless
    assert "sequence" not in nameless
    duplicate = messages.error(StreamerError("DUPLICATE_REQUEST"), 5, "r", 0)
    assert duplicate["request_id"] == "r"
    assert "sequence" not in duplicate


def test_a_failure_is_cut_to_what_a_message_holds():
    """Many fields are named in part; details that do not fit go, then the text."""
    small = StreamerError("TIMEOUT", "slow", {"a": 1})
    assert messages.sendable(small) is small
    many = ValidationError([FieldError(f"payload.steps[{n}]", "bad" * 9) for n in range(10_000)])
    cut = messages.sendable(many)
    assert len(cut.details["fields"]) == messages.FIELDS_MAX
    wide = ValidationError([FieldError("x" * 200_000, "bad")])
    assert messages.sendable(wide).details == {}
    foreign = StreamerError("NOT_FOUND", "no", {"k": object()}, after_ms=3)
    foreign.retryable = True
    assert messages.sendable(foreign).to_json() == {
        "code": "NOT_FOUND",
        "message": "no",
        "details": {},
        "retry": {"retryable": True, "after_ms": 3},
    }
    for text in ("x" * 200_000, "\ud800"):
        assert messages.sendable(StreamerError("TIMEOUT", text)).message.startswith("The request")
