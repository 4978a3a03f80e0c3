"""DynamoDB Streams records on the wire, as a Lambda function gets them (recorded 2025-11-25)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

from streamproof.gateway.description import Api, ChangeRecord, EventSourceMapping

_SEQUENCE_BASE = 8 * 10**20  # recorded ones have 21 digits: "800000000003126276362"
_STREAM_LABEL = "2025-11-25T15:47:40.123"


def sequence_number(sequence: int) -> str:
    """Write a source's sequence number as DynamoDB does: 21 digits that only grow."""
    return str(_SEQUENCE_BASE + sequence)


def stream_arn(api: Api, mapping: EventSourceMapping) -> str:
    """Name a mapping's stream."""
    table = f"arn:aws:dynamodb:{api.region}:{api.account}:table/{mapping.table}"
    return f"{table}/stream/{_STREAM_LABEL}"


def to_event(record: ChangeRecord, api: Api, mapping: EventSourceMapping) -> dict[str, Any]:
    """Build one member of an event's `Records`, keys in the recorded order."""
    change: dict[str, Any] = {
        "ApproximateCreationDateTime": float(int(record.created_at_s)),  # whole seconds
        "Keys": record.keys,
    }
    images = {
        "NewImage": record.new_image if "NEW" in mapping.stream_view_type else None,
        "OldImage": record.old_image if "OLD" in mapping.stream_view_type else None,
    }
    change |= {name: image for name, image in images.items() if image is not None}
    sized = [record.keys, *(image for image in images.values() if image is not None)]
    change["SequenceNumber"] = sequence_number(record.sequence)
    change["SizeBytes"] = sum(_item_bytes(item) for item in sized)
    change["StreamViewType"] = mapping.stream_view_type
    number = f"{mapping.table}/{record.sequence}"
    return {
        "eventID": hashlib.md5(number.encode(), usedforsecurity=False).hexdigest(),
        "eventName": record.event_name,
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": api.region,
        "dynamodb": change,
        "eventSourceARN": stream_arn(api, mapping),
    }


def _item_bytes(item: dict[str, Any]) -> int:
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: dict[str, Any]) -> int:
    """Size a DynamoDB value. Source: "DynamoDB item sizes and formats"; texts were recorded."""
    kind, held = next(iter(value.items()))
    if kind == "S":
        return len(held.encode())
    if kind == "N":
        return len(held) // 2 + 1
    if kind == "B":
        return len(base64.b64decode(held))
    if kind in ("SS", "NS", "BS"):
        return _sum({kind[0]: each} for each in held)
    if kind == "L":
        return 3 + len(held) + _sum(held)
    if kind == "M":
        return 3 + len(held) + _item_bytes(held)
    return 1  # BOOL, NULL


def _sum(values: Iterable[dict[str, Any]]) -> int:
    return sum(_value_bytes(value) for value in values)
