"""The events that API Gateway hands to functions: members, order and spelling as recorded.

Sources: a CONNECT event captured in March 2025, DISCONNECT events of 2023 and 2025, AWS's
developer guide. Only this module spells Lambda's event members.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any
from urllib.parse import parse_qsl

from streamproof.gateway.description import Api
from streamproof.gateway.identifiers import new_id, new_trace_id

Headers = list[tuple[str, str]]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HOP_HEADERS = frozenset({"connection", "upgrade"})  # absent in the captured event


@dataclasses.dataclass(slots=True)
class Session:
    """What an event says about the connection it belongs to."""

    connection_id: str
    connected_at_ms: int
    source_ip: str
    user_agent: str | None
    domain_name: str
    authorizer: dict[str, Any] | None = None


def request_time(time_s: float) -> str:
    """Write a moment in the common log format that API Gateway uses, in UTC."""
    at = datetime.datetime.fromtimestamp(time_s, datetime.UTC)
    month = _MONTHS[at.month - 1]
    return f"{at.day:02d}/{month}/{at.year}:{at.hour:02d}:{at.minute:02d}:{at.second:02d} +0000"


def _context(
    api: Api,
    session: Session,
    time_s: float,
    route_key: str,
    event_type: str,
    disconnect_reason: str | None = None,
    **early: Any,
) -> dict[str, Any]:
    request_id = new_id()
    identity = {"sourceIp": session.source_ip}
    if session.user_agent is not None:
        identity = {"userAgent": session.user_agent, "sourceIp": session.source_ip}
    context: dict[str, Any] = {
        "routeKey": route_key,
        **early,
        "eventType": event_type,
        "extendedRequestId": request_id,
        "requestTime": request_time(time_s),
        "messageDirection": "IN",
        **({} if disconnect_reason is None else {"disconnectReason": disconnect_reason}),
        "stage": api.stage,
        "connectedAt": session.connected_at_ms,
        "requestTimeEpoch": int(time_s * 1000),
        "identity": identity,
        "requestId": request_id,
        "domainName": session.domain_name,
        "connectionId": session.connection_id,
        "apiId": api.api_id,
    }
    if session.authorizer is not None:
        context["authorizer"] = session.authorizer
    return context


def connect_event(
    api: Api, session: Session, time_s: float, headers: Headers, query: str
) -> dict[str, Any]:
    """Build the event of `$connect`; the query's members are absent when there is none."""
    forwarded = _forwarded(session, time_s, headers)
    event: dict[str, Any] = {
        "headers": dict(forwarded),
        "multiValueHeaders": _multi(forwarded),
    }
    parameters = parse_qsl(query, keep_blank_values=True)  # bounded with the target
    if parameters:
        event["queryStringParameters"] = dict(parameters)
        event["multiValueQueryStringParameters"] = _multi(parameters)
    event["requestContext"] = _context(api, session, time_s, "$connect", "CONNECT")
    event["isBase64Encoded"] = False
    return event


def authorizer_event(
    api: Api, session: Session, time_s: float, headers: Headers, query: str
) -> dict[str, Any]:
    """Build the event of a REQUEST authorizer, which runs before `$connect`."""
    event = connect_event(api, session, time_s, headers, query)
    return {
        "type": "REQUEST",
        "methodArn": method_arn(api),
        "headers": event["headers"],
        "multiValueHeaders": event["multiValueHeaders"],
        "queryStringParameters": event.get("queryStringParameters", {}),
        "multiValueQueryStringParameters": event.get("multiValueQueryStringParameters", {}),
        "stageVariables": {},
        "requestContext": event["requestContext"],
    }


def message_event(
    api: Api, session: Session, time_s: float, route_key: str, body: str
) -> dict[str, Any]:
    """Build the event of one message, whatever its route: no headers, no query."""
    return {
        "requestContext": _context(api, session, time_s, route_key, "MESSAGE", messageId=new_id()),
        "body": body,
        "isBase64Encoded": False,
    }


def disconnect_event(
    api: Api, session: Session, time_s: float, status_code: int, reason: str
) -> dict[str, Any]:
    """Build the event of `$disconnect`, with exactly the four headers that AWS sends."""
    headers = [
        ("Host", session.domain_name),
        ("x-api-key", ""),
        ("X-Forwarded-For", session.source_ip),
        ("x-restapi", ""),
    ]
    return {
        "headers": dict(headers),
        "multiValueHeaders": _multi(headers),
        "requestContext": _context(
            api,
            session,
            time_s,
            "$disconnect",
            "DISCONNECT",
            disconnectStatusCode=status_code,
            disconnect_reason=reason,
        ),
        "isBase64Encoded": False,
    }


def method_arn(api: Api) -> str:
    """Name what an authorizer's policy must allow."""
    return f"arn:aws:execute-api:{api.region}:{api.account}:{api.api_id}/{api.stage}/$connect"


def _forwarded(session: Session, time_s: float, headers: Headers) -> Headers:
    kept = [(name, value) for name, value in headers if name.lower() not in _HOP_HEADERS]
    port = session.domain_name.rpartition(":")[2]
    return [
        *kept,
        ("X-Amzn-Trace-Id", new_trace_id(time_s)),
        ("X-Forwarded-For", session.source_ip),
        ("X-Forwarded-Port", port if port.isdecimal() else "443"),
        ("X-Forwarded-Proto", "https"),
    ]


def _multi(pairs: Headers) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values
