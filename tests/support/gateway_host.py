"""Gateways for tests: one in this loop, functions that note their events, a signed client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from websockets.asyncio.client import ClientConnection, connect

from streamproof.gateway import Api, Clock, Credentials, Description, Function, Gateway

CREDENTIALS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG")
WAIT_S = 5.0  # real seconds that a test may wait for what must come
ROUTES = {"$connect": "connect", "$disconnect": "disconnect", "$default": "default"}


class Notes:
    """A function that notes each event and gives the answer it was told to give."""

    def __init__(self, answer: Any = None) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.answer = {"statusCode": 200} if answer is None else answer

    async def __call__(self, event: dict[str, Any]) -> Any:
        self.events.put_nowait(event)
        answer = self.answer(event) if callable(self.answer) else self.answer
        return await answer if asyncio.iscoroutine(answer) else answer

    async def next(self) -> dict[str, Any]:
        """The next event that was not looked at."""
        async with asyncio.timeout(WAIT_S):
            return await self.events.get()


class Stage:
    """A running gateway with its three functions' notes."""

    def __init__(self, gateway: Gateway, notes: dict[str, Notes]) -> None:
        self.gateway = gateway
        self.connects = notes["connect"]
        self.disconnects = notes["disconnect"]
        self.messages = notes["default"]
        self.url = f"ws://127.0.0.1:{gateway.port}/dev"

    def connect(self, query: str = "", **options: Any) -> Any:
        """Open a WebSocket; an asynchronous context manager."""
        return connect(self.url + query, **{"compression": None, "proxy": None, **options})

    async def connection_id(self) -> str:
        """The id of the connection that was opened last."""
        event = await self.connects.next()
        return str(event["requestContext"]["connectionId"])

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[ClientConnection, str]]:
        """Open a WebSocket and tell its id."""
        async with self.connect() as client:
            yield client, await self.connection_id()

    async def management(self, operation: str, **arguments: Any) -> Any:
        """Call `@connections` through boto3, in a thread."""
        client = management_client(self.gateway.port)
        return await asyncio.to_thread(getattr(client, operation), **arguments)

    async def post(self, connection_id: str, data: bytes) -> int:
        """Post with one signed request on a socket of its own; the status."""
        path = f"/dev/@connections/{connection_id}".replace("=", "%3D")
        status, _, _ = await http(self.gateway.port, "POST", path, data)
        return status


@functools.cache
def management_client(port: int, secret: str | None = None, token: str | None = None) -> Any:
    """A boto3 client without retries for the gateway on `port`."""
    return boto3.client(
        "apigatewaymanagementapi",
        endpoint_url=f"http://127.0.0.1:{port}/dev",
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS.access_key_id,
        aws_secret_access_key=secret or CREDENTIALS.secret_access_key,
        aws_session_token=token,
        config=Config(
            connect_timeout=WAIT_S, read_timeout=WAIT_S, retries={"total_max_attempts": 1}
        ),
    )


@contextlib.asynccontextmanager
async def running(
    *functions: Function,
    clock: Clock | None = None,
    api: dict[str, Any] | None = None,
    answers: dict[str, Any] | None = None,
    tls: ssl.SSLContext | None = None,
    **fields: Any,
) -> AsyncIterator[Stage]:
    """Run a gateway; `answers` by function name, `api` and `fields` change its description."""
    notes = {
        name: Notes((answers or {}).get(name)) for name in ("connect", "disconnect", "default")
    }
    own = tuple(Function(name, run=note) for name, note in notes.items())
    description = Description(
        api=Api(**{"routes": ROUTES, **(api or {})}),
        functions=(*own, *functions),
        credentials=fields.pop("credentials", CREDENTIALS),
        **fields,
    )
    gateway = Gateway(description, clock)
    await gateway.start(tls=tls)
    try:
        yield Stage(gateway, notes)
    finally:
        await gateway.stop(5)


async def http(
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    sign: bool = True,
) -> tuple[int, dict[str, str], bytes]:
    """Make one request signed by botocore; status, headers in lower case, body."""
    sent = {"Host": f"127.0.0.1:{port}", **(headers or {})}
    if sign:
        sent |= signed_headers(method, f"http://127.0.0.1:{port}{path}", body, headers)
    head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    request = f"{method} {path} HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request.encode() + body)
        return await read_response(reader, method)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def signed_headers(
    method: str, url: str, body: bytes, headers: dict[str, str] | None = None
) -> dict[str, str]:
    """The headers that botocore adds to a request."""
    request = AWSRequest(method, url, data=body, headers=headers or {})
    credentials = BotoCredentials(CREDENTIALS.access_key_id, CREDENTIALS.secret_access_key)
    SigV4Auth(credentials, "execute-api", "us-east-1").add_auth(request)
    return dict(request.headers.items())


async def read_response(
    reader: asyncio.StreamReader, method: str = "GET"
) -> tuple[int, dict[str, str], bytes]:
    """Read one response with a Content-Length."""
    async with asyncio.timeout(WAIT_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.partition(": ") for line in head[1:] if line)
        headers = {name.lower(): value for name, _, value in pairs}
        length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
        return int(head[0].split(" ")[1]), headers, await reader.readexactly(length)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds; bounded."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await turns(1)


async def turns(count: int = 20) -> None:
    """Let the loop turn `count` times."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future
