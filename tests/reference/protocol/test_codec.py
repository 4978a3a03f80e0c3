"""JSON in and out: exact by decimal value, and nothing that two readers take differently."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer_reference.protocol.codec import decode, encode
from streamer_reference.protocol.errors import ValidationError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(10**300) + 1, 10**300 - 1) | st.floats(
    allow_nan=False, allow_infinity=False
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def _decimals(text):
    """The value with every number exact; `true` stays apart from 1."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


@given(VALUES)
def test_every_value_comes_back_exactly(value):
    """MSG-5: numbers by decimal value, texts by code points, members in their order."""
    text = json.dumps(value)
    again = encode(decode(text))
    assert repr(_decimals(again)) == repr(_decimals(encode(value)))
    assert _decimals(again) == _decimals(text)
    assert decode(again) == decode(text)


NUMBER_TEXTS = st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?\Z")


@given(NUMBER_TEXTS)
def test_a_number_keeps_its_decimal_value_or_is_refused(text):
    """Nothing between: what a double would change does not get in."""
    try:
        value = decode(text)
    except ValidationError:
        return
    assert Decimal(encode(value)) == Decimal(text)


def test_numbers_that_are_kept():
    """The contract's own examples, signs included."""
    for text in ("1e-7", "1E+5", "0.1", "123456789012345.5", "9" * 300, "-" + "9" * 300, "0e99"):
        assert Decimal(encode(decode(text))) == Decimal(text)
    assert math.copysign(1, decode("-0.0")) == -1
    assert decode("0e999999999999999999999999") == 0
    assert decode("true") is True
    assert decode("[1]") == [1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nul",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e-400",
        "1e-99999999999999999999999",
        "0.1000000000000000000001",
        "1" * 301,
        "1" * 5000,
        '{"a":1,"a":2}',
        '{"a":1,"\\u0061":2}',
        '["\\ud800"]',
        '{"\\udc00":1}',
        '["\\udc00\\ud800"]',
        "[" * 129 + "]" * 129,
        '{"a":' * 129 + "1" + "}" * 129,
        "[" * 100_000 + "]" * 100_000,
        "[1] 2",
        "\ufeff{}",
        '"\t"',
    ],
)
def test_what_is_not_interoperable_is_refused(text):
    """One VALIDATION_ERROR for the whole message, whatever is wrong."""
    with pytest.raises(ValidationError) as caught:
        decode(text)
    assert caught.value.fields[0].field == "$"
    assert caught.value.details["fields"][0]["message"].startswith("the message is refused")


def test_what_is_deep_but_allowed_is_kept():
    """128 levels are allowed, and brackets in a text are no levels."""
    deep = "[" * 128 + "]" * 128
    assert encode(decode(deep)) == deep
    mixed = '{"a":[' * 64 + "]}" * 64
    assert encode(decode(mixed)) == mixed
    assert decode(json.dumps("[" * 500)) == "[" * 500
    assert decode(json.dumps(["[" * 500, {"a": 1}])) == ["[" * 500, {"a": 1}]
    assert decode('["\\ud83d\\ude00"]') == ["\U0001f600"]


def test_what_is_no_json_cannot_be_encoded():
    """NaN, a set, a lone surrogate, a list within itself."""
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (math.nan, math.inf, {1}, object(), "\ud800", loop, deep):
        with pytest.raises((ValueError, TypeError)):
            encode(value)
    while deep:  # taken apart by hand, as freeing it at once would recurse
        deep = deep[0]
