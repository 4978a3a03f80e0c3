"""The reference as `build` makes it, with a gateway that only takes posts: for what it emits."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from streamer_reference.lambdas.connect import connect
from streamer_reference.lambdas.disconnect import disconnect
from streamer_reference.lambdas.processor import processor
from streamer_reference.lambdas.router import router
from streamer_reference.lambdas.worker import worker
from streamer_reference.observability.metrics import Metrics
from streamer_reference.services import Services, build
from streamer_reference.settings import Settings
from streamer_reference.sigv4 import Credentials

EVENT_ID = "ZmDyDGyFliAFhVQ="


@cache
def signing_key() -> rsa.RSAPrivateKey:
    """One key for all tests: making one takes a while."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def token(**claims: Any) -> str:
    """A good token, unless the claims say otherwise."""
    good = {"sub": "u", "tenant_id": "t", "exp": int(time.time()) + 600}
    good["permissions"] = ["probe", "broadcast"]
    return jwt.encode({**good, **claims}, signing_key(), "RS256")


class Observed:
    """The functions, called with a gateway's events."""

    def __init__(self, services: Services, lines: list[dict[str, Any]]) -> None:
        self.services = services
        self.lines = lines
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.fault: Exception | None = None
        self.invocations: list[tuple[str, dict[str, Any]]] = []
        self._seen = 0
        services.client.post_to_connection = self._post  # type: ignore[method-assign]
        services.client.delete_connection = self._delete  # type: ignore[method-assign]
        services.manager._dice = lambda: 0.0

    async def _post(self, connection_id: str, data: bytes, **_options: Any) -> int:
        self.posts.append((connection_id, json.loads(data)))
        if self.fault is not None:
            raise self.fault
        return 200

    async def _delete(self, _connection_id: str) -> int:
        return 204

    def event(self, connection_id: str, **members: Any) -> dict[str, Any]:
        """A client's event."""
        context = {
            "connectionId": connection_id,
            "requestId": EVENT_ID,
            "connectedAt": int(time.time() * 1000),
            "domainName": "api.test",
            "stage": "dev",
            "identity": {"sourceIp": "10.0.0.1", "userAgent": "agent"},
        }
        return {"requestContext": context, **members}

    async def connect(self, connection_id: str, text: str | None = None, **headers: str) -> int:
        """The handshake's status."""
        query = {"Authorization": token() if text is None else text}
        event = self.event(connection_id, headers=headers, queryStringParameters=query)
        status: int = (await connect(event, self.services))["statusCode"]
        return status

    async def disconnect(self, connection_id: str) -> None:
        """The connection's end."""
        await disconnect(self.event(connection_id), self.services)

    async def say(
        self, connection_id: str, action: str, payload: Any = None, **members: Any
    ) -> Any:
        """The last message that anybody got once the router was done."""
        body = json.dumps({"action": action, "payload": payload or {}, **members})
        await router(self.event(connection_id, body=body), self.services)
        return self.posts[-1][1]

    async def hand_over(self) -> list[dict[str, Any]]:
        """Bring what is new in the stream to the processor; the workers' events."""
        records = []
        for sequence, _name, key, _old, new, _at in self.services.store.changes(self._seen, 1000):  # type: ignore[attr-defined]
            self._seen = sequence
            image = json.loads(new) if new else {}
            if image.get("status") in ("PENDING", "RETRYING"):
                typed = {k: {"S" if isinstance(v, str) else "N": str(v)} for k, v in image.items()}
                records.append({"dynamodb": {"Keys": {"key": {"S": key}}, "NewImage": typed}})
        self.invocations.clear()
        await processor({"Records": records}, self.services)
        return [event for _, event in self.invocations]

    async def work(self, event: dict[str, Any]) -> None:
        """One invocation of the worker."""
        context = SimpleNamespace(aws_request_id="i1", get_remaining_time_in_millis=lambda: 900_000)
        await worker(event, self.services, context)

    async def run(self) -> None:
        """Everything that waits, to its end."""
        for event in await self.hand_over():
            await self.work(event)


@contextlib.asynccontextmanager
async def observed(directory: Path, **settings: Any) -> AsyncIterator[Observed]:
    """Services on a store in `directory`; a setting overrides the test's own."""
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    key = directory / "key.pem"
    key.write_bytes(signing_key().public_key().public_bytes(*pem))
    lines: list[dict[str, Any]] = []
    invocations: list[tuple[str, dict[str, Any]]] = []
    services = build(
        Settings(
            store=str(directory / "store.sqlite"),
            management_url="http://127.0.0.1:9/dev",
            region="us-east-1",
            token_keys=json.dumps({"k": str(key)}),
            probe=True,
            **settings,
        ),
        Credentials("AKID", "secret"),
        invoke=lambda function, event: invocations.append((function, event)),
        metrics=Metrics(lambda line: lines.append(json.loads(line)), environment="dev"),
    )
    world = Observed(services, lines)
    world.invocations = invocations
    try:
        yield world
    finally:
        await services.aclose()
