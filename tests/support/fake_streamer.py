"""A small, correct Streamer in one process, and every way in which it can be wrong on request.

It shares no code with the reference: what the clauses say of both is said of two implementations.
`wrong` names one fault; `FAULTS` in the tests says which clause must find it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import time
import urllib.parse
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from support.fake_rules import InvalidError, RefusalError, dump, read_message, read_token

ISSUER = "https://fake.test"
CODES_RETRYABLE = {"RATE_LIMITED", "SERVICE_UNAVAILABLE", "TIMEOUT", "STORAGE_ERROR"}
INTERVAL_S = 0.105
RESULT_URLS = {
    "a url to nowhere": "http://127.0.0.1:9/x",
    "a url to another machine": "https://example.com/x",
    "a url of another kind": "ftp://127.0.0.1/x",
    "no url": None,
}
DEATHS_OF = {"poison runs for ever": 10**6, "poison ends at once": 1, "poison runs six times": 6}
SHORT_LIMIT_S = 1.0
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


async def pause(seconds: float) -> None:
    """Let the loop's clock pass."""
    done = asyncio.Event()
    handle = asyncio.get_running_loop().call_later(seconds, done.set)
    try:
        await done.wait()
    finally:
        handle.cancel()


class Peer:
    """One connection."""

    def __init__(self, socket: ServerConnection, claims: dict[str, Any]) -> None:
        self.socket = socket
        self.claims = claims
        self.user = claims["sub"]
        self.tenant = claims["tenant_id"]
        self.permissions = claims.get("permissions", [])
        self.id = base64.urlsafe_b64encode(secrets.token_bytes(11)).decode()
        self.tokens = 0.0
        self.filled_s = 0.0
        self.running = 0


class Job:
    """One long request."""

    def __init__(self, peer: Peer, request_id: str, payload: dict[str, Any]) -> None:
        self.id = request_id
        self.payload = payload
        self.peers = [peer]
        self.sequence = 0
        self.status = "PENDING"
        self.percentage: Any = 0
        self.end: dict[str, Any] = {}
        self.task: asyncio.Task[None] | None = None
        self.sent_s = 0.0
        self.pending: dict[str, Any] | None = None
        self.metadata: dict[str, str] = {}
        self.held: dict[str, Any] | None = None
        self.flush: asyncio.Task[None] | None = None


class FakeStreamer:
    """Serves on a free port of the loopback interface; `target(folder)` says how to reach it."""

    def __init__(self, wrong: str = "", burst: int = 100, in_flight: int = 70) -> None:
        self.wrong = wrong
        self.burst = burst
        self.in_flight = in_flight
        self.jobs: dict[Any, Job] = {}
        self.peers: list[Peer] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.ends = 0
        self.turns = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.server: Server | None = None

    async def __aenter__(self) -> FakeStreamer:
        message = None if self.wrong == "no size limit" else (131_072, 32_768)
        self.server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._admit,
            compression=None,
            ping_interval=None,
            max_size=message,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in list(self.tasks):
            task.cancel()
        if self.server is not None:
            self.server.close()
            await self.server.wait_closed()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self.server is not None
        return f"ws://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/dev"

    def target(self, folder: Path, **changes: Any) -> str:
        """Write a target.json and return the word that names it."""
        key = folder / "key.pem"
        key.write_bytes(
            KEY.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        limits = {"messages_per_minute": 60, "burst": self.burst, "in_flight": self.in_flight}
        data = {"url": self.url, "issuer": ISSUER, "jwt_private_key": str(key), "limits": limits}
        (folder / "target.json").write_text(json.dumps(data | changes))
        return f"file:{folder / 'target.json'}"

    def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" not in request.headers:
            return None if self.wrong != "200 for a plain GET" else socket.respond(200, "hello")
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        token = query.get("Authorization", [""])[0] or request.headers.get("Authorization", "")
        if "Authorization=" in request.path and not query.get("Authorization"):
            token = ""
        if self.wrong == "falls back to the header":
            token = request.headers.get("Authorization", token)
        try:
            socket.claims = read_token(token, KEY.public_key(), ISSUER, self.wrong)  # type: ignore[attr-defined]  # kept on the connection
        except (InvalidError, jwt.InvalidTokenError, ValueError, TypeError) as error:
            if self.wrong == "opens, then closes":
                socket.claims = None  # type: ignore[attr-defined]  # kept on the connection
                return None
            if self.wrong == "a refusal cuts its user off":
                claimed = jwt.decode(token, options={"verify_signature": False})
                for peer in self.peers:
                    if peer.user == claimed["sub"]:
                        self._spawn(peer.socket.close())
            reason = str(error) if self.wrong == "says why" else "Unauthorized"
            return socket.respond(403 if self.wrong == "403 for a bad token" else 401, reason)
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        claims = socket.claims  # type: ignore[attr-defined]  # set in _admit
        if claims is None:
            await socket.close(1008)
            return
        peer = Peer(socket, claims)
        peer.tokens = float(self.burst)
        peer.filled_s = asyncio.get_running_loop().time()
        self.peers.append(peer)
        if self.wrong == "greets":
            await self._post(peer, {"type": "broadcast", "broadcast_id": "1", "payload": "hello"})
        try:
            async for text in socket:
                if isinstance(text, bytes) and self.wrong != "takes binary":
                    await socket.close(1003)
                    break
                if self.wrong == "one at a time":
                    await self._message(peer, text)  # type: ignore[arg-type]  # text by now
                else:
                    self._spawn(self._message(peer, text))  # type: ignore[arg-type]  # text by now
        except ConnectionClosed:
            pass
        finally:
            self.peers.remove(peer)
            if self.wrong == "a close cancels":
                for job in self.jobs.values():
                    if peer in job.peers and job.task is not None:
                        job.task.cancel()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def _post(self, peer: Peer, message: dict[str, Any]) -> None:
        message = {"timestamp": int(time.time() * 1000), "from": {"user_id": "x"}, **message}
        if message["type"] != "broadcast":
            del message["from"]
        self._spoil(message)
        for text in self._spellings(message):
            with contextlib.suppress(ConnectionClosed):
                await peer.socket.send(text)

    def _spoil(self, message: dict[str, Any]) -> None:  # noqa: PLR0912 - one branch per fault
        kind = message["type"]
        match self.wrong:
            case "no request_id in errors" if kind == "error":
                message.pop("request_id", None)
            case "rewrites ids" if "request_id" in message:
                message["request_id"] += "x"
            case "timestamps in seconds":
                message["timestamp"] //= 1000
            case "timestamps as text":
                message["timestamp"] = str(message["timestamp"])
            case "numbers from 1" if "sequence" in message:
                message["sequence"] += 1
            case "a gap" if message.get("sequence", 0) >= 2:
                message["sequence"] += 1
            case "one number twice" if message.get("sequence", 0) >= 1:
                message["sequence"] = 1
            case "a 0..1 scale" if kind == "progress":
                message["percentage"] = float(message["percentage"]) / 100
            case "past 100" if kind == "progress":
                message["percentage"] = 100.0001
            case "NaN" if kind == "progress":
                message["percentage"] = float("nan")
            case "a percentage as text" if kind == "progress":
                message["percentage"] = str(message["percentage"])
            case "retry left out" if kind == "error":
                del message["error"]["retry"]
            case "a code of its own" if kind == "error":
                message["error"]["code"] = "OOPS"
            case "no fields" if kind == "error":
                message["error"].pop("details", None)
            case "no after_ms" if kind == "error":
                message["error"]["retry"].pop("after_ms", None)
            case "rounds results" if kind == "complete":
                message["result"] = json.loads(dump(message["result"], floats=True))
            case "flattens errors" if kind == "error":
                message["error"]["code"] = "INTERNAL_ERROR"

    def _spellings(self, message: dict[str, Any]) -> list[str]:
        kind = message["type"]
        text = dump(message, floats=self.wrong == "floats")
        if kind in ("complete", "error") and message.get("sequence", 0) > 0:
            self.ends += 1
            if self.wrong == "drops outcomes" and self.ends % 3 == 0:
                return []
            if self.wrong == "two outcomes":
                return [text, dump({**message, "sequence": message["sequence"] + 1})]
            if self.wrong == "progress after the outcome":
                late = {**message, "type": "progress", "percentage": 100}
                for name in ("result", "success", "error"):
                    late.pop(name, None)
                late["sequence"] = message["sequence"] + 1
                return [text, dump(late)]
        if kind == "acknowledgment" and self.wrong == "no acknowledgment":
            return []
        if kind == "response" and self.wrong == "answers twice":
            return [text, dump({**message, "timestamp": message["timestamp"] + 1})]
        if kind == "response" and self.wrong == "loses answers" and self._eighth():
            return []
        return [text]

    async def _error(
        self,
        peer: Peer,
        request_id: str | None,
        code: str,
        details: Any = None,
        *,
        numbered: bool = True,
        text: str = "",
    ) -> None:
        retryable = code in CODES_RETRYABLE
        retry = {"retryable": retryable} | ({"after_ms": 900} if retryable else {})
        error: dict[str, Any] = {"code": code, "message": text or f"it is {code}", "retry": retry}
        if details is not None:
            error["details"] = details
        message: dict[str, Any] = {"type": "error", "error": error}
        if request_id is not None:
            message["request_id"] = request_id
            if numbered:
                message["sequence"] = 0
        await self._post(peer, message)

    async def _message(self, peer: Peer, text: str) -> None:
        try:
            message = read_message(text, self.wrong)
        except RefusalError as refusal:
            if self.wrong == "silent on nonsense":
                return
            if self.wrong == "dies of nonsense":
                await peer.socket.close(1011)
                return
            fields = refusal.fields[:1] if self.wrong == "names one field" else refusal.fields
            details = {"fields": [{"field": f, "message": "is wrong"} for f in fields]}
            await self._error(peer, refusal.request_id, "VALIDATION_ERROR", details)
            return
        request_id = message.get("id") or f"s-{secrets.token_hex(8)}"
        if self.wrong == "ids from a clock" and "id" not in message:
            request_id = f"s-{int(time.time())}"
        try:
            await self._act(peer, request_id, message)
        except RefusalError as refusal:
            details = None
            if refusal.code == "VALIDATION_ERROR":
                details = {"fields": [{"field": f, "message": "is wrong"} for f in refusal.fields]}
            if refusal.details is not None:
                details = refusal.details
            numbered = refusal.code != "DUPLICATE_REQUEST" or self.wrong == "numbers duplicates"
            await self._error(peer, request_id, refusal.code, details, numbered=numbered)

    def _admit_rate(self, peer: Peer) -> None:
        now_s = asyncio.get_running_loop().time()
        peer.tokens = min(float(self.burst), peer.tokens + (now_s - peer.filled_s))
        peer.filled_s = now_s
        if peer.tokens < 1 and self.wrong != "no rate limit":
            raise RefusalError("RATE_LIMITED")
        peer.tokens -= 1

    async def _act(self, peer: Peer, request_id: str, message: dict[str, Any]) -> None:
        self._admit_rate(peer)
        action, payload = message["action"], message.get("payload", {})
        if peer.claims["exp"] < time.time() and self.wrong != "outlives its token":
            await self._error(peer, request_id, "UNAUTHORIZED")
            await peer.socket.close(1000)
            return
        known = {"echo", "ping", "status", "cancel", "subscribe", "broadcast"}
        known |= {"probe.whoami", "probe.count", "probe.sync", "probe.async"}
        if action.lower() in known and self.wrong == "any case":
            action = action.lower()
        if action not in known:
            raise RefusalError("INVALID_ACTION")
        need = action.partition(".")[0]
        needed = need in ("probe", "broadcast") and need not in peer.permissions
        if needed and self.wrong != "reads no permissions":
            raise RefusalError("FORBIDDEN")
        self._validate(action, payload)
        if action == "probe.async":
            await self._queue(peer, request_id, payload, message)
            return
        data = await self._short(peer, request_id, action, payload, message)
        if data is not None:
            answer = {"type": "response", "request_id": request_id, "sequence": 0}
            await self._post(peer, {**answer, "success": True, "data": data})
        if action == "subscribe":
            job = self._job(peer, payload)
            job.peers.append(peer)
            if job.end:
                await self._post(peer, job.end)

    def _validate(self, action: str, payload: dict[str, Any]) -> None:
        if self.wrong == "no validation":
            return
        bad = []
        if action in ("status", "cancel", "subscribe") and "request_id" not in payload:
            bad.append("payload.request_id")
        ends = {"ok", "fail", "raise", "hang", "retryable", "crash"}
        if action.startswith("probe.") and payload.get("end", "ok") not in ends:
            bad.append("payload.end")
        steps = payload.get("steps", [])
        numbers = isinstance(steps, list) and all(
            isinstance(step.get("percentage"), (int, Decimal)) for step in steps
        )
        if not numbers:
            bad.append("payload.steps")
        if not isinstance(payload.get("time_limit_ms", 1), int):
            bad.append("payload.time_limit_ms")
        if bad:
            raise RefusalError("VALIDATION_ERROR", bad)

    async def _short(
        self,
        peer: Peer,
        request_id: str,
        action: str,
        payload: dict[str, Any],
        message: dict[str, Any],
    ) -> dict[str, Any] | None:
        match action:
            case "echo":
                if self.wrong == "takes members away":
                    return {"echo": {k: v for k, v in payload.items() if k != "_metadata"}}
                return {"echo": payload}
            case "ping":
                return {"pong": True}
            case "probe.whoami":
                user = peer.user
                if self.wrong == "believes metadata":
                    user = message.get("metadata", {}).get("user_id", user)
                names = {"user_id": user, "tenant_id": peer.tenant, "connection_id": peer.id}
                if self.wrong == "odd ids":
                    names["connection_id"] = secrets.token_hex(8)
                return {**names, "permissions": peer.permissions}
            case "probe.count":
                return {"count": self.counts[peer.tenant, payload["key"]]}
            case "probe.sync":
                return await self._probe_sync(peer, request_id, payload)
            case "broadcast":
                return await self._broadcast(peer, payload)
            case "cancel":
                return await self._cancel(self._job(peer, payload))
            case _:
                return self._status(self._job(peer, payload))

    async def _probe_sync(
        self, peer: Peer, request_id: str, payload: dict[str, Any]
    ) -> dict[str, Any] | None:
        self._count(peer, payload)
        await pause(payload.get("ms", 0) / 1000)
        match payload.get("end", "ok"):
            case "fail":
                raise RefusalError(payload.get("code", "PROCESSING_FAILED"))
            case "raise":
                leak = "KeyError in /srv/app.py, table streamer-requests"
                text = leak if self.wrong == "shows exceptions" else ""
                await self._error(peer, request_id, "INTERNAL_ERROR", text=text)
                return None
            case "hang":
                if self.wrong == "hangs":
                    return None
                await pause(SHORT_LIMIT_S)
                raise RefusalError("TIMEOUT")
        return {}

    def _count(self, peer: Peer, payload: dict[str, Any]) -> None:
        if "count_key" in payload:
            self.counts[peer.tenant, payload["count_key"]] += 1

    async def _broadcast(self, peer: Peer, payload: dict[str, Any]) -> dict[str, Any]:
        number = secrets.token_hex(4)
        message = {"type": "broadcast", "broadcast_id": number, "payload": payload["payload"]}
        message["from"] = {"user_id": peer.user}
        all_tenants = self.wrong == "broadcasts to all"
        told = [p for p in self.peers if p.tenant == peer.tenant or all_tenants]
        if self.wrong == "forgets the sender":
            told.remove(peer)
        if self.wrong == "broadcasts twice":
            told = told * 2
        for other in told:
            await self._post(other, message)
        if self.wrong == "fails on gone" and len(told) < 8 and len(self.peers) < 8:
            raise RefusalError("INTERNAL_ERROR")
        counts = {"delivered": len(told), "gone": 0, "failed": 0}
        return {"broadcast_id": number, **counts}

    def _key(self, peer: Peer, request_id: str) -> Any:
        match self.wrong:
            case "keys without tenant":
                return peer.user, request_id
            case "keys without user":
                return peer.tenant, request_id
            case "keys of ids alone":
                return request_id
            case "joins with #":
                return f"{peer.tenant}#{peer.user}#{request_id}"
        return peer.tenant, peer.user, request_id

    def _job(self, peer: Peer, payload: dict[str, Any]) -> Job:
        wanted = payload["request_id"]
        job = self.jobs.get(self._key(peer, wanted))
        if job is None and self.wrong == "shows others":
            job = next((found for found in self.jobs.values() if found.id == wanted), None)
        if job is None:
            others = any(found.id == wanted for found in self.jobs.values())
            if others and self.wrong == "tells that it exists":
                raise RefusalError("FORBIDDEN")
            raise RefusalError("NOT_FOUND")
        return job

    def _status(self, job: Job) -> dict[str, Any]:
        data = {"request_id": job.id, "action": "probe.async", "status": job.status}
        stale = self.wrong == "status without progress"
        data["percentage"] = 0 if stale else job.percentage
        for name in ("result", "error"):
            if name in job.end and self.wrong != "drops results":
                data[name] = job.end[name]
        if self.wrong == "rounds in status" and "result" in data:
            data["result"] = json.loads(dump(data["result"], floats=True))
        return data

    async def _cancel(self, job: Job) -> dict[str, Any]:
        if job.end and self.wrong != "cancels the ended":
            raise RefusalError("ALREADY_ENDED", details={"status": job.status})
        if job.task is not None and self.wrong != "goes on after cancel":
            job.task.cancel()
        if job.flush is not None:
            job.flush.cancel()
        job.pending = None
        await self._end(job, "CANCELLED", error="CANCELLED")
        return {"request_id": job.id, "status": "CANCELLED"}

    async def _queue(
        self, peer: Peer, request_id: str, payload: dict[str, Any], message: dict[str, Any]
    ) -> None:
        key = self._key(peer, request_id)
        known = self.jobs.get(key)
        if known is not None and self.wrong != "forgets ids":
            raise RefusalError("DUPLICATE_REQUEST", details={"status": known.status})
        if peer.running >= self.in_flight and self.wrong != "no limit in flight":
            raise RefusalError("RATE_LIMITED")
        if self.wrong == "identity from metadata":
            metadata = message.get("metadata", {})
            user, tenant = metadata.get("user_id"), metadata.get("tenant_id")
            key = (tenant or peer.tenant, user or peer.user, request_id)
        if self.wrong == "loses requests" and self._eighth():
            job = Job(peer, request_id, payload)
            await self._say(job, {"type": "acknowledgment", "status": "queued"})
            return
        job = self.jobs[key] = Job(peer, request_id, payload)
        peer.running += 1
        ack = {"type": "acknowledgment", "status": "queued", "message": "queued"}
        if self.wrong == "overtakes":
            job.task = self._spawn(self._work(peer, job))
            await pause(0.05)
            await self._say(job, ack)
            return
        await self._say(job, ack)
        job.task = self._spawn(self._work(peer, job))

    async def _say(self, job: Job, message: dict[str, Any]) -> dict[str, Any]:
        message = {"request_id": job.id, "sequence": job.sequence, **message}
        message.setdefault("timestamp", int(time.time() * 1000))
        job.sequence += 1
        for peer in list(job.peers):
            await self._post(peer, dict(message))
        if self.wrong == "leaks" and message["type"] == "progress":
            for peer in self.peers:
                if peer not in job.peers:
                    await self._post(peer, dict(message))
                    break
        return message

    async def _end(self, job: Job, status: str, *, error: str = "") -> None:
        job.status = status
        if error:
            retryable = error in CODES_RETRYABLE
            retry = {"retryable": retryable} | ({"after_ms": 900} if retryable else {})
            body = {"code": error, "message": f"it is {error}", "retry": retry}
            if self.wrong == "says nothing of failures":
                return
            job.end = {"type": "error", "error": body, "request_id": job.id}
            job.end = await self._say(job, job.end)
            return
        size = job.payload.get("result_bytes")
        if size is not None and size > 120_000 and self.wrong in RESULT_URLS:
            url = {"success": True, "result_url": RESULT_URLS[self.wrong]}
            job.end = await self._say(job, {"type": "complete", **url})
            return
        if size is not None and size > 120_000:
            if self.wrong == "large results vanish":
                return
            job.status = "FAILED"
            await self._end(job, "FAILED", error="RESULT_TOO_LARGE")
            return
        result = job.payload.get("result") if size is None else {"x": "x" * (size - 8)}
        job.end = await self._say(job, {"type": "complete", "success": True, "result": result})

    async def _work(self, peer: Peer, job: Job) -> None:
        try:
            if self.wrong == "one after the other":
                async with self._lane(peer):
                    await self._attempts(peer, job)
            else:
                await self._attempts(peer, job)
        finally:
            peer.running -= 1

    def _eighth(self) -> bool:
        """Whether it is the turn to lose one: as often as chance would, and never by chance."""
        self.turns += 1
        return self.turns % 8 == 0

    def _lane(self, peer: Peer) -> asyncio.Lock:
        lock: asyncio.Lock = peer.__dict__.setdefault("lane", asyncio.Lock())
        return lock

    async def _attempts(self, peer: Peer, job: Job) -> None:
        payload = job.payload
        failures = deaths = 0
        while True:
            job.status = "PROCESSING"
            self._count(peer, payload)
            if self.wrong == "runs twice":
                self._count(peer, payload)
            for step in payload.get("steps", []):
                await pause(step.get("ms", 0) / 1000)
                await self._report(job, step)
            how = payload.get("end", "ok")
            if failures + deaths >= payload.get("end_attempts", 10**6):
                how = "ok"
            if how == "retryable" and self.wrong != "no retry":
                failures += 1
                if failures < 3:
                    job.status = "RETRYING"
                    await pause(0.02)
                    if self.wrong == "starts again from 0":
                        job.percentage = 0
                    continue
            if how == "crash" and self.wrong != "dies with its worker":
                deaths += 1
                if self.wrong == "deaths count as failures" and deaths >= 1:
                    how = "fail"
                elif deaths < DEATHS_OF.get(self.wrong, 5):
                    await pause(0.02)
                    if self.wrong == "poison takes its neighbours":
                        await self._kill_neighbours(job)
                    continue
            if how == "crash" and self.wrong == "dies with its worker":
                return
            await self._flush(job)
            await self._finish(job, how)
            return

    async def _kill_neighbours(self, poison: Job) -> None:
        await pause(0.08)
        for job in self.jobs.values():
            if job is not poison and job.task is not None and not job.end:
                job.task.cancel()
                await self._end(job, "FAILED", error="PROCESSING_FAILED")

    async def _finish(self, job: Job, how: str) -> None:
        match how:
            case "ok":
                await self._end(job, "COMPLETED")
            case "hang":
                await pause(job.payload.get("time_limit_ms", 30_000) / 1000)
                await self._end(job, "FAILED", error="TIMEOUT")
            case "fail":
                code = job.payload.get("code", "PROCESSING_FAILED")
                await self._end(job, "FAILED", error=code)
            case _:
                await self._end(job, "FAILED", error="PROCESSING_FAILED")

    async def _report(self, job: Job, step: dict[str, Any]) -> None:
        job.metadata = {**job.metadata, **step.get("metadata", {})}
        falls = step["percentage"] < job.percentage and self.wrong != "falls back"
        if falls and self.wrong != "starts again from 0":
            return
        job.percentage = step["percentage"]
        if job.pending is not None and self.wrong == "keeps the first of a batch":
            return
        job.pending = {"type": "progress", "percentage": job.percentage, "metadata": job.metadata}
        if self.wrong == "one step behind":
            job.pending, job.held = job.held, job.pending
            if job.pending is None:
                return
        now_s = asyncio.get_running_loop().time()
        due_s = job.sent_s + INTERVAL_S
        if now_s >= due_s or self.wrong == "a message per update":
            await self._flush(job)
        elif job.flush is None or job.flush.done():
            job.flush = self._spawn(self._later(job, due_s - now_s))

    async def _later(self, job: Job, seconds: float) -> None:
        await pause(seconds)
        await self._flush(job, timed=True)

    async def _flush(self, job: Job, *, timed: bool = False) -> None:
        if not timed and job.flush is not None:
            job.flush.cancel()
        if job.held is not None and not timed and job.pending is None and job.percentage:
            job.pending, job.held = job.held, None
        if job.pending is None:
            return
        ending = not timed and asyncio.get_running_loop().time() < job.sent_s + INTERVAL_S
        if ending and self.wrong == "drops the last":
            return
        message, job.pending = job.pending, None
        if message["percentage"] == 100 and job.__dict__.setdefault("hundred", False):
            return
        job.hundred = message["percentage"] == 100  # type: ignore[attr-defined]  # set above
        if self.wrong == "metadata ahead":
            message["metadata"] = {**message["metadata"], "k99": "set"}
        job.sent_s = asyncio.get_running_loop().time()
        await self._say(job, message)
