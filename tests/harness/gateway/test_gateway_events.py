"""The events that functions get: members, order and values as recorded (GW-1, GW-2)."""

from __future__ import annotations

import datetime

from streamproof.gateway import Api, ManualClock
from streamproof.gateway.events import Session, authorizer_event, connect_event, request_time
from support.gateway_host import running

CONTEXT = [
    "extendedRequestId",
    "requestTime",
    "messageDirection",
    "stage",
    "connectedAt",
    "requestTimeEpoch",
    "identity",
    "requestId",
    "domainName",
    "connectionId",
    "apiId",
]


def test_request_time_is_in_the_common_log_format():
    """English month, UTC, whatever the machine's locale."""
    assert request_time(1_742_085_982.306) == "16/Mar/2025:00:46:22 +0000"


async def test_connect_has_headers_and_query():
    """CONNECT: headers, query in both forms with the last value winning, the recorded context."""
    async with running() as stage, stage.connect("?a=1&a=2&b=&c=%C3%A9+x") as client:
        event = await stage.connects.next()
        assert list(event) == [
            "headers",
            "multiValueHeaders",
            "queryStringParameters",
            "multiValueQueryStringParameters",
            "requestContext",
            "isBase64Encoded",
        ]
        assert event["queryStringParameters"] == {"a": "2", "b": "", "c": "é x"}
        assert event["multiValueQueryStringParameters"] == {
            "a": ["1", "2"],
            "b": [""],
            "c": ["é x"],
        }
        context = event["requestContext"]
        assert list(context) == ["routeKey", "eventType", *CONTEXT]
        assert context["routeKey"] == "$connect"
        assert context["eventType"] == "CONNECT"
        assert context["messageDirection"] == "IN"
        assert context["requestId"] == context["extendedRequestId"]
        assert context["identity"]["sourceIp"] == "127.0.0.1"
        assert context["identity"]["userAgent"] == client.request.headers["User-Agent"]
        assert context["domainName"] == f"127.0.0.1:{stage.gateway.port}"
        assert event["isBase64Encoded"] is False
        at = datetime.datetime.strptime(context["requestTime"], "%d/%b/%Y:%H:%M:%S %z")
        assert int(at.timestamp()) == context["requestTimeEpoch"] // 1000
        headers = event["headers"]
        assert headers["Sec-WebSocket-Version"] == "13"
        assert headers["X-Forwarded-For"] == "127.0.0.1"
        assert headers["X-Amzn-Trace-Id"].startswith("Root=1-")
        assert not {"Connection", "Upgrade"} & set(headers)
        assert event["multiValueHeaders"] == {name: [text] for name, text in headers.items()}


async def test_connect_without_query_has_no_members_for_it():
    """The query's members are absent, not null, when there is none."""
    async with running() as stage, stage.connect():
        event = await stage.connects.next()
        assert not {"queryStringParameters", "multiValueQueryStringParameters"} & set(event)


async def test_message_has_body_and_context_only():
    """MESSAGE: no headers, no query; a messageId; the connection's own ids and moment."""
    async with running() as stage, stage.connect("?a=1") as client:
        connected = (await stage.connects.next())["requestContext"]
        await client.send("")
        event = await stage.messages.next()
        assert list(event) == ["requestContext", "body", "isBase64Encoded"]
        assert event["body"] == ""
        context = event["requestContext"]
        assert list(context) == ["routeKey", "messageId", "eventType", *CONTEXT]
        assert context["routeKey"] == "$default"
        assert context["connectionId"] == connected["connectionId"]
        assert context["connectedAt"] == connected["connectedAt"]
        assert len({context["requestId"], context["messageId"], connected["requestId"]}) == 3


async def test_disconnect_has_the_four_headers_and_the_reason():
    """DISCONNECT: exactly the headers that AWS sends, status code and reason of the close."""
    async with running() as stage:
        async with stage.connect() as client:
            await client.close(3001, "going home")
        event = await stage.disconnects.next()
        host = f"127.0.0.1:{stage.gateway.port}"
        headers = {"Host": host, "x-api-key": "", "X-Forwarded-For": "127.0.0.1", "x-restapi": ""}
        assert list(event) == ["headers", "multiValueHeaders", "requestContext", "isBase64Encoded"]
        assert event["headers"] == headers
        assert event["multiValueHeaders"] == {name: [text] for name, text in headers.items()}
        context = event["requestContext"]
        order = [*CONTEXT[:3], "disconnectReason", *CONTEXT[3:]]
        assert list(context) == ["routeKey", "disconnectStatusCode", "eventType", *order]
        assert context["disconnectStatusCode"] == 3001
        assert context["disconnectReason"] == "going home"


def test_a_client_without_user_agent_has_none_in_its_identity():
    """The member is absent, as AWS leaves it out."""
    session = Session("id", 1, "1.2.3.4", None, "api.example")
    event = connect_event(Api({}), session, ManualClock().time_s(), [("Host", "x")], "")
    assert event["requestContext"]["identity"] == {"sourceIp": "1.2.3.4"}
    assert event["headers"]["X-Forwarded-Port"] == "443"


def test_an_authorizer_gets_a_request_event():
    """REQUEST authorizers see method ARN, headers, query and context."""
    session = Session("id", 1, "1.2.3.4", "agent", "api.example:1")
    event = authorizer_event(Api({}, api_id="abc"), session, 5.0, [("Auth", "t")], "a=1")
    assert event["type"] == "REQUEST"
    assert event["methodArn"] == "arn:aws:execute-api:us-east-1:000000000000:abc/dev/$connect"
    assert event["queryStringParameters"] == {"a": "1"}
    assert event["stageVariables"] == {}
    assert event["requestContext"]["connectionId"] == "id"
    assert authorizer_event(Api({}), session, 5.0, [], "")["queryStringParameters"] == {}
