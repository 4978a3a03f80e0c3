"""Stream records on the wire: members, order, sizes as recorded on 2025-11-25."""

from __future__ import annotations

import base64

import pytest

from streamproof.gateway import Api, ChangeRecord, EventSourceMapping
from streamproof.gateway.stream_records import sequence_number, to_event

KEYS = {"partition_key0001": {"S": "hello world"}}


def event(record, view="NEW_AND_OLD_IMAGES"):
    """A record's event."""
    return to_event(record, Api({}), EventSourceMapping("f", None, stream_view_type=view))


def test_a_record_has_the_recorded_members_in_order():
    """eventVersion 1.1, whole seconds, 21 digits, the images that the view asks for."""
    image = {**KEYS, "attribute1": {"S": "value1"}}
    built = event(ChangeRecord(7, "MODIFY", KEYS, image, KEYS, 1732550860.9))
    assert list(built) == [
        "eventID",
        "eventName",
        "eventVersion",
        "eventSource",
        "awsRegion",
        "dynamodb",
        "eventSourceARN",
    ]
    assert built["eventVersion"] == "1.1"
    assert len(built["eventID"]) == 32
    change = built["dynamodb"]
    assert list(change) == [
        "ApproximateCreationDateTime",
        "Keys",
        "NewImage",
        "OldImage",
        "SequenceNumber",
        "SizeBytes",
        "StreamViewType",
    ]
    assert change["ApproximateCreationDateTime"] == 1732550860.0
    assert change["SequenceNumber"] == "800000000000000000007"


@pytest.mark.parametrize(
    ("view", "images"),
    [("NEW_IMAGE", ["NewImage"]), ("OLD_IMAGE", ["OldImage"]), ("KEYS_ONLY", [])],
)
def test_the_view_says_which_images_there_are(view, images):
    """Absent images are absent members."""
    change = event(ChangeRecord(1, "MODIFY", KEYS, KEYS, KEYS, 0.0), view)["dynamodb"]
    assert [name for name in change if name.endswith("Image")] == images


def test_sizes_are_those_of_names_and_values():
    """The recorded record of 70 bytes: 17 + 11 for the key, twice, and 10 + 6 for the attribute."""
    keys = {"id_of_16_letters": {"S": "hello world"}}
    image = {**keys, "attribute1": {"S": "value1"}}
    built = event(ChangeRecord(1, "INSERT", keys, image, None, 0.0))
    assert built["dynamodb"]["SizeBytes"] == 16 + 11 + 16 + 11 + 10 + 6
    assert "OldImage" not in built["dynamodb"]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ({"S": "é"}, 2),
        ({"N": "12345"}, 3),
        ({"B": base64.b64encode(b"12345").decode()}, 5),
        ({"BOOL": True}, 1),
        ({"NULL": True}, 1),
        ({"SS": ["a", "bc"]}, 3),
        ({"NS": ["1", "22"]}, 3),
        ({"BS": [base64.b64encode(b"12").decode()]}, 2),
        ({"L": [{"S": "ab"}]}, 6),
        ({"M": {"k": {"S": "ab"}}}, 7),
    ],
)
def test_every_kind_of_value_has_a_size(value, size):
    """By DynamoDB's rules for item sizes."""
    built = event(ChangeRecord(1, "INSERT", {"k": value}, None, None, 0.0))
    assert built["dynamodb"]["SizeBytes"] == 1 + size


def test_sequence_numbers_grow_as_numbers_and_as_text():
    """All have one length."""
    numbers = [sequence_number(n) for n in (0, 1, 9, 10, 10**12)]
    assert numbers == sorted(numbers)
    assert {len(number) for number in numbers} == {21}
