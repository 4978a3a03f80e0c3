"""Reading what a function answered: Lambda proxy answers and authorizer policies.

Source: "Output format of a Lambda function for proxy integration", "Output from an API Gateway
Lambda authorizer". An answer with other members is malformed, as middy#1219 and aws-cdk#18208 saw.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from typing import Any

CONTEXT_BYTES_MAX = 8192  # "Output from an API Gateway Lambda authorizer"
_MEMBERS = frozenset({"statusCode", "headers", "multiValueHeaders", "body", "isBase64Encoded"})
_SUBPROTOCOL = "sec-websocket-protocol"


class MalformedAnswerError(Exception):
    """The function's answer is no proxy answer: 502 at the handshake, an error for a message."""


@dataclasses.dataclass(frozen=True, slots=True)
class ProxyAnswer:
    """What API Gateway takes from a function's answer."""

    status: int
    body: str
    subprotocol: str | None


def read_proxy_answer(answer: Any) -> ProxyAnswer:
    """Check a function's answer; raises `MalformedAnswerError`."""
    if not isinstance(answer, dict) or not _MEMBERS.issuperset(answer):
        raise MalformedAnswerError(f"not a proxy answer: {type(answer).__name__}")
    status = answer.get("statusCode")
    if isinstance(status, str) and status.isdecimal() and len(status) == 3:
        status = int(status)
    if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status <= 599:
        raise MalformedAnswerError(f"statusCode is {status!r:.40}")
    body = answer.get("body")
    if body is None:
        body = ""
    headers = answer.get("headers") or {}
    multi = answer.get("multiValueHeaders") or {}
    if not (isinstance(body, str) and isinstance(headers, dict) and isinstance(multi, dict)):
        raise MalformedAnswerError("body or headers of the wrong type")
    return ProxyAnswer(status, body, _subprotocol(headers, multi))


def _subprotocol(headers: dict[str, Any], multi: dict[str, Any]) -> str | None:
    for name, value in [*headers.items(), *multi.items()]:
        if name.lower() == _SUBPROTOCOL:
            text = value[0] if isinstance(value, list) and value else value
            # A line break in it would be a header of the function's own making.
            if isinstance(text, str) and text.isprintable() and text.isascii():
                return text
    return None


def is_allowed(answer: Any, method_arn: str) -> bool:
    """Tell whether an authorizer's policy allows `method_arn`: a matching Deny wins."""
    if not isinstance(answer, dict) or not isinstance(answer.get("principalId"), str):
        return False
    document = answer.get("policyDocument")
    statements = document.get("Statement") if isinstance(document, dict) else None
    if isinstance(statements, dict):
        statements = [statements]
    if not isinstance(statements, list):
        return False
    effects = {
        statement.get("Effect")
        for statement in statements
        if isinstance(statement, dict)
        and _matches(statement.get("Action"), "execute-api:Invoke", ignore_case=True)
        and _matches(statement.get("Resource"), method_arn, ignore_case=False)
    }
    return effects == {"Allow"}


def _matches(patterns: Any, value: str, *, ignore_case: bool) -> bool:
    for pattern in patterns if isinstance(patterns, list) else [patterns]:
        if not isinstance(pattern, str):
            continue
        plain = pattern.replace("[", "[[]")  # policies know * and ? only
        if ignore_case:
            plain, value = plain.lower(), value.lower()
        if fnmatch.fnmatchcase(value, plain):
            return True
    return False


def authorizer_context(answer: dict[str, Any], latency_ms: int) -> dict[str, Any]:
    """Return `requestContext.authorizer`: the principal, the context as text, the latency.

    Raises `MalformedAnswerError` for a context that holds objects or lists, or is over 8 KB.
    """
    context = answer.get("context") or {}
    if not isinstance(context, dict):
        raise MalformedAnswerError("the context is no object")
    texts = {}
    for name, value in context.items():
        if not isinstance(value, (str, int, float)):
            raise MalformedAnswerError(f"{name!r:.40} of the context is no text, number or truth")
        texts[str(name)] = str(value).lower() if isinstance(value, bool) else str(value)
    whole = {"principalId": answer["principalId"], **texts}
    if sum(len(f"{name}{text}".encode()) for name, text in whole.items()) > CONTEXT_BYTES_MAX:
        raise MalformedAnswerError(f"the context is over {CONTEXT_BYTES_MAX} bytes")
    return {**whole, "integrationLatency": latency_ms}
