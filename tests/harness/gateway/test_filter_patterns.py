"""Filter patterns by Lambda's rules."""

from __future__ import annotations

import pytest

from streamproof.errors import UsageError
from streamproof.gateway.filter_patterns import check_pattern, matches

RECORD = {
    "eventName": "MODIFY",
    "dynamodb": {
        "NewImage": {"status": {"S": "PENDING"}, "n": 5, "flag": True, "nothing": None},
        "tags": ["a", "b"],
    },
}


def image(**members):
    """A pattern for the new image."""
    return {"dynamodb": {"NewImage": members}}


@pytest.mark.parametrize(
    ("pattern", "passes"),
    [
        ({}, True),
        ({"eventName": ["MODIFY"]}, True),
        ({"eventName": ["INSERT", "MODIFY"]}, True),
        ({"eventName": ["INSERT"]}, False),
        ({"eventName": ["MODIFY"], "other": ["x"]}, False),
        (image(status={"S": ["PENDING"]}), True),
        (image(status={"S": ["pending"]}), False),
        (image(status={"S": [{"equals-ignore-case": "pending"}]}), True),
        (image(status={"S": [{"prefix": "PEN"}]}), True),
        (image(status={"S": [{"suffix": "ING"}]}), True),
        (image(status={"S": [{"prefix": "DONE"}]}), False),
        (image(n=[{"prefix": "5"}]), False),
        (image(n=[5]), True),
        (image(n=[5.0]), True),
        (image(flag=[1]), False),
        (image(flag=[True]), True),
        (image(nothing=[None]), True),
        (image(n=[{"numeric": [">", 4, "<=", 5]}]), True),
        (image(n=[{"numeric": ["=", 4]}]), False),
        (image(n=[{"numeric": ["<", 9]}]), True),
        (image(n=[{"numeric": [">=", 6]}]), False),
        (image(flag=[{"numeric": ["=", 1]}]), False),
        (image(status={"S": [{"anything-but": ["DONE"]}]}), True),
        (image(status={"S": [{"anything-but": "PENDING"}]}), False),
        (image(status={"S": [{"anything-but": {"prefix": "PEN"}}]}), False),
        (image(status={"S": [{"exists": True}]}), True),
        (image(status={"S": [{"exists": False}]}), False),
        (image(absent=[{"exists": False}]), True),
        (image(absent={"S": [{"exists": False}]}), True),
        (image(absent=[{"exists": True}]), False),
        (image(absent=[{"anything-but": "x"}]), False),
        ({"dynamodb": {"OldImage": {"s": ["x"]}}}, False),
        ({"dynamodb": {"tags": ["b"]}}, True),
        ({"dynamodb": {"tags": ["c"]}}, False),
        ({"$or": [{"eventName": ["INSERT"]}, image(n=[5])]}, True),
        ({"$or": [{"eventName": ["INSERT"]}, image(n=[6])]}, False),
    ],
)
def test_a_pattern_takes_what_its_rules_say(pattern, passes):
    """Members are joined by AND, alternatives by OR."""
    check_pattern(pattern)
    assert matches(pattern, RECORD) is passes


@pytest.mark.parametrize(
    "pattern",
    [
        "text",
        {"a": "text"},
        {"a": 5},
        {"a": []},
        {"a": {}},
        {"a": [[1]]},
        {"a": [{"unknown": 1}]},
        {"a": [{"prefix": "a", "suffix": "b"}]},
        {"$or": []},
        {"$or": ["x"]},
        {"$or": [{"a": "text"}]},
    ],
)
def test_what_is_no_pattern_is_refused_in_lambdas_words(pattern):
    """The mapping is not made."""
    with pytest.raises(UsageError, match=r"Invalid filter pattern definition\."):
        check_pattern(pattern)
