"""What the gateway takes from a function's answer, and what it calls malformed."""

from __future__ import annotations

import pytest

from streamproof.gateway.proxy_answer import (
    MalformedAnswerError,
    authorizer_context,
    is_allowed,
    read_proxy_answer,
)

ARN = "arn:aws:execute-api:us-east-1:000000000000:abc/dev/$connect"


@pytest.mark.parametrize(
    ("answer", "status", "body", "subprotocol"),
    [
        ({"statusCode": 200}, 200, "", None),
        ({"statusCode": "201", "body": None, "headers": None}, 201, "", None),
        ({"statusCode": 500, "body": "b", "isBase64Encoded": False}, 500, "b", None),
        ({"statusCode": 200, "headers": {"sec-websocket-PROTOCOL": "chat"}}, 200, "", "chat"),
        (
            {"statusCode": 200, "multiValueHeaders": {"Sec-WebSocket-Protocol": ["a", "b"]}},
            200,
            "",
            "a",
        ),
        ({"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "a\r\nX: y"}}, 200, "", None),
    ],
)
def test_a_proxy_answer_is_read(answer, status, body, subprotocol):
    """Status, body and subprotocol are taken; everything else is not."""
    read = read_proxy_answer(answer)
    assert (read.status, read.body, read.subprotocol) == (status, body, subprotocol)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [],
        "ok",
        {"statusCode": "ok"},
        {"statusCode": True},
        {"statusCode": 99},
        {"statusCode": 600},
        {"statusCode": 200, "ConnectionId": "x"},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": "9" * 5000},
    ],
)
def test_anything_else_is_malformed(answer):
    """A missing status, a foreign member or a wrong type make the answer malformed."""
    with pytest.raises(MalformedAnswerError):
        read_proxy_answer(answer)


def policy(effect="Allow", resource=ARN, action="execute-api:Invoke", principal="user"):
    """An authorizer's answer."""
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    return {"principalId": principal, "policyDocument": {"Statement": [statement]}}


@pytest.mark.parametrize(
    ("answer", "allowed"),
    [
        (policy(), True),
        (policy(resource="*"), True),
        (policy(resource=[ARN, "other"]), True),
        (policy(resource=ARN.replace("$connect", "*")), True),
        (policy(action="execute-api:*"), True),
        (policy(action="EXECUTE-API:invoke"), True),
        (policy(resource=ARN.upper()), False),
        (policy(resource="other"), False),
        (policy(resource=[5]), False),
        (policy(action="s3:*"), False),
        (policy(effect="Deny"), False),
        (policy(principal=None), False),
        ({"principalId": "user"}, False),
        ({"principalId": "user", "policyDocument": {"Statement": "x"}}, False),
        (None, False),
    ],
)
def test_a_policy_allows_what_it_names(answer, allowed):
    """Only a matching Allow with a principal opens the connection."""
    assert is_allowed(answer, ARN) is allowed


def test_a_single_statement_and_a_deny_beside_an_allow():
    """A statement need not be in a list, and a matching Deny wins over an Allow."""
    one = policy()
    one["policyDocument"]["Statement"] = one["policyDocument"]["Statement"][0]
    assert is_allowed(one, ARN)
    both = policy()
    both["policyDocument"]["Statement"] += policy(effect="Deny")["policyDocument"]["Statement"]
    assert not is_allowed(both, ARN)


def test_the_context_of_an_authorizer_becomes_text():
    """Scalars become text as AWS writes them."""
    answer = {"principalId": "u", "context": {"n": 5, "yes": True, "text": "t"}}
    assert authorizer_context(answer, 12) == {
        "principalId": "u",
        "n": "5",
        "yes": "true",
        "text": "t",
        "integrationLatency": 12,
    }
    assert authorizer_context({"principalId": "u", "context": None}, 1)["principalId"] == "u"
