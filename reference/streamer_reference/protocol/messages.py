"""The messages, one definition each: what a client may send and what a server answers.

A server message is built as a plain dict and encoded once; what is stored for sending is its text,
so that a message that is sent again is the same byte for byte.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from streamer_reference.protocol import limits
from streamer_reference.protocol.codec import decode, encode
from streamer_reference.protocol.errors import FieldError, StreamerError, ValidationError

FIELDS_MAX = 100  # named when naming all would not fit
ENVELOPE_BYTES = 512  # what a message adds to an error or a result, generously


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """What a client asks: `id` is None when the client left it to the server."""

    id: str | None
    action: str
    payload: dict[str, Any]
    metadata: dict[str, str]


def parse_request(text: str) -> Request:
    """The request in a text message; `ValidationError` names every bad field (MSG-1, MSG-2)."""
    message = decode(text)
    if not isinstance(message, dict):
        raise ValidationError([FieldError("$", "must be a JSON object")])
    request_id, action = message.get("id"), message.get("action")
    payload, metadata = message.get("payload", {}), message.get("metadata", {})
    id_is_good = isinstance(request_id, str) and limits.ID_PATTERN.fullmatch(request_id) is not None
    action_is_good = isinstance(action, str) and limits.ACTION_PATTERN.fullmatch(action) is not None
    rules = (
        ("id", id_is_good or "id" not in message, "must be 1 to 128 visible ASCII characters"),
        ("action", action_is_good, "must be 1 to 64 of A-Z a-z 0-9 . _ -"),
        ("payload", isinstance(payload, dict), "must be an object"),
        ("type", message.get("type", "request") == "request", 'must be "request" or absent'),
    )
    bad = [FieldError(field, rule) for field, is_kept, rule in rules if not is_kept]
    bad += _bad_metadata(metadata)
    if bad:
        raise ValidationError(bad, request_id if id_is_good else None)
    return Request(request_id, str(action), payload, metadata)


def _bad_metadata(metadata: Any) -> list[FieldError]:
    if not isinstance(metadata, dict):
        return [FieldError("metadata", "must be an object")]
    if len(metadata) > limits.METADATA_ENTRIES_MAX:
        return [FieldError("metadata", f"must have at most {limits.METADATA_ENTRIES_MAX} entries")]
    return [
        FieldError(
            f"metadata.{key[: limits.METADATA_KEY_CHARS_MAX]}", "must be a text of bounded length"
        )
        for key, value in metadata.items()
        if len(key) > limits.METADATA_KEY_CHARS_MAX
        or not isinstance(value, str)
        or len(value) > limits.METADATA_VALUE_CHARS_MAX
    ]


Message = dict[str, Any]


def _of_request(kind: str, request_id: str, sequence: int, timestamp_ms: int) -> Message:
    return {
        "type": kind,
        "request_id": request_id,
        "sequence": sequence,
        "timestamp": timestamp_ms,
    }


def acknowledgment(request_id: str, timestamp_ms: int) -> Message:
    """The first message of a long request: it is stored and will end."""
    body = {"status": "queued", "message": "The request is queued."}
    return _of_request("acknowledgment", request_id, 0, timestamp_ms) | body


def response(request_id: str, timestamp_ms: int, data: Any) -> Message:
    """The one answer to a short request."""
    return _of_request("response", request_id, 0, timestamp_ms) | {"success": True, "data": data}


def progress(
    request_id: str,
    sequence: int,
    timestamp_ms: int,
    percentage: float,
    message: str | None,
    metadata: dict[str, Any],
) -> Message:
    """How far a long request is: `percentage` is finite, 0 to 100, and never falls."""
    body = _of_request("progress", request_id, sequence, timestamp_ms)
    body["percentage"] = percentage
    if message is not None:
        body["message"] = message
    if metadata:
        body["metadata"] = metadata
    return body


def complete(request_id: str, sequence: int, timestamp_ms: int, body: dict[str, Any]) -> Message:
    """The good outcome of a long request: `body` has either `result` or `result_url`."""
    return _of_request("complete", request_id, sequence, timestamp_ms) | {"success": True} | body


def error(
    failure: StreamerError, timestamp_ms: int, request_id: str | None, sequence: int | None
) -> Message:
    """A refusal, a failed short request, or the bad outcome of a long one.

    DUPLICATE_REQUEST and errors without `request_id` carry no number: they are messages of no
    request, and nobody takes them for an outcome.
    """
    body: Message = {"type": "error"}
    if request_id is not None:
        body["request_id"] = request_id
        if sequence is not None and failure.code != "DUPLICATE_REQUEST":
            body["sequence"] = sequence
    body["timestamp"] = timestamp_ms
    body["error"] = failure.to_json()
    return body


def sendable(failure: StreamerError) -> StreamerError:
    """The failure as a message can hold it: a handler may raise what is no JSON, or megabytes.

    Of many bad fields the first are named; details that do not fit are left out, and then the text.
    """
    if _fits(failure):
        return failure
    fields = failure.details.get("fields")
    named = {"fields": fields[:FIELDS_MAX]} if isinstance(fields, list) else {}
    for message, details in ((failure.message, named), (failure.message, {})):
        if _fits(smaller := _with(failure, message, details)):
            return smaller
    return _with(failure, "", {})


def _with(failure: StreamerError, message: str, details: dict[str, Any]) -> StreamerError:
    other = StreamerError(failure.code, message, details, after_ms=failure.after_ms)
    other.retryable = failure.retryable
    return other


def _fits(failure: StreamerError) -> bool:
    try:
        return len(encode(failure.to_json()).encode()) + ENVELOPE_BYTES <= limits.MESSAGE_BYTES_MAX
    except (TypeError, ValueError):
        return False


def broadcast(broadcast_id: str, timestamp_ms: int, user_id: str, payload: Any) -> Message:
    """What every connection of a tenant gets when one of its members broadcasts."""
    return {
        "type": "broadcast",
        "broadcast_id": broadcast_id,
        "timestamp": timestamp_ms,
        "from": {"user_id": user_id},
        "payload": payload,
    }
