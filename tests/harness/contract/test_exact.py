"""JSON values are compared as MSG-5 means it."""

from __future__ import annotations

import pytest

from streamproof.contract.exact import UNREADABLE, difference, parse, same
from streamproof.contract.failures import Broken

DIGITS = "1234567890" * 30


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1e2", "100"),
        ("-0.0", "0"),
        (DIGITS, DIGITS),
        ('"\\u00e9"', '"é"'),
        ('{"a":1,"b":2}', '{"b":2,"a":1}'),
        ("[true,null]", "[true,null]"),
    ],
)
def test_same_values_in_other_spellings(one, other) -> None:
    """Spelling is no difference."""
    assert same(parse(one), parse(other))
    assert difference(parse(one), parse(other)) == ""


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ("1", "true", "$"),
        ("0", "false", "$"),
        (DIGITS, f"{float(DIGITS):.0f}", "$"),
        ("1e-7", "0.00000010000001", "$"),
        ('"\\u00e9"', '"e\\u0301"', "$"),
        ('{"a":{"b":1}}', '{"a":{}}', "$.a.b is missing"),
        ('{"a":1}', '{"a":1,"c":2}', "$.c was added"),
        ("[1,[2,3]]", "[1,[2,4]]", "$[1][1]"),
        ("[1]", "[1,1]", "$"),
        ("null", "{}", "$"),
        ("1", '"1"', "$"),
    ],
)
def test_other_values(one, other, where) -> None:
    """The first place where two values differ is named."""
    assert not same(parse(one), parse(other))
    assert difference(parse(one), parse(other)).startswith(where)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, "1e9999999999999999999"])
def test_what_is_no_json_is_unreadable(text) -> None:
    """Nothing that a target sends raises."""
    assert parse(text) is UNREADABLE


def test_a_missing_member_is_the_targets_fault() -> None:
    """Reading a member that a target left out breaks the clause, not the harness."""
    with pytest.raises(Broken, match="the member b"):
        parse('{"a": 1}')["b"]
    assert parse('{"a": 1}').get("b") is None
