"""Route selection as the developer guide describes it."""

from __future__ import annotations

import pytest

from streamproof.gateway.routing import RouteSelector

ROUTES = {"$connect": "c", "$disconnect": "d", "$default": "x", "join": "j", "5": "f", "true": "t"}


@pytest.mark.parametrize(
    ("body", "route"),
    [
        ('{"action": "join"}', "join"),
        ('{"action": "leave"}', "$default"),
        ('{"action": 5}', "5"),
        ('{"action": 5.0}', "$default"),
        ('{"action": true}', "true"),
        ('{"action": null}', "$default"),
        ('{"action": {"join": 1}}', "$default"),
        ("{}", "$default"),
        ("[]", "$default"),
        ('"join"', "$default"),
        ("join", "$default"),
        ("", "$default"),
        ('{"action": NaN}', "$default"),
        ("[" * 100_000, "$default"),
        ('{"action": "$connect"}', "$default"),
        ('{"action": "$disconnect"}', "$default"),
        ('{"action": "$default"}', "$default"),
    ],
)
def test_the_action_selects_the_route(body, route):
    """An exact key is selected, everything else is $default's, system routes cannot be named."""
    assert RouteSelector("$request.body.action", ROUTES).select(body) == route


@pytest.mark.parametrize("body", ['{"action": "leave"}', "no json", '{"action": "$connect"}'])
def test_without_a_default_there_is_no_route(body):
    """What no key matches has no route."""
    selector = RouteSelector("$request.body.action", {"$connect": "c", "join": "j"})
    assert selector.select(body) is None
    assert selector.select('{"action": "join"}') == "join"


@pytest.mark.parametrize(
    ("expression", "body", "key"),
    [
        ("${request.body.service}/${request.body.action}", '{"service":"a","action":"b"}', "a/b"),
        ("${request.body.service}-${request.body.action}", '{"service":"a"}', "a-"),
        ("$request.body.a.b", '{"a":{"b":"deep"}}', "deep"),
        ("$request.body.list", '{"list":["one",2,{"x":null}]}', '[one, 2, {"x":null}]'),
        ("fixed", "{}", "fixed"),
    ],
)
def test_expressions_may_join_values_and_text(expression, body, key):
    """Several references, nested members, lists and static text make one key."""
    assert RouteSelector(expression, {key: "f", "$default": "x"}).select(body) == key


def test_an_escaped_dollar_names_the_default_route():
    r"""`\$default` selects $default for every message."""
    assert RouteSelector(r"\$default", {"join": "j", "$default": "x"}).select("{}") == "$default"


def test_an_api_without_keys_of_its_own_reads_no_message():
    """With nothing but system routes, every message is $default's."""
    assert RouteSelector("$request.body.action", {"$default": "x"}).select("no json") == "$default"
    assert RouteSelector("$request.body.action", {"$connect": "x"}).select("{}") is None
