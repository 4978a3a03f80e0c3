"""AUTH-6: a token is in no log line, metric, trace, stored item and message."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
import websockets
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from streamer_reference.observability import traces
from streamproof.targets.embedded import Stack, StackOptions
from streamproof.targets.state import State, prepare
from streamproof.targets.tokens import Identity, TokenMint

PIECE_CHARS = 24  # of a token: so much of it is a leak too


def _pieces(token: str) -> Iterator[str]:
    """What must be nowhere: the ends of the claims and of the signature, and all that is short."""
    for part in token.split(".")[1:] or [token]:
        if len(part) >= PIECE_CHARS:
            yield from (part[:PIECE_CHARS], part[-PIECE_CHARS:])


def _bad_tokens(mint: TokenMint, state: State) -> list[str]:
    """Every kind of token that is refused, each with claims that nobody else has."""
    foreign = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = state.public_key.read_bytes()
    claims = {"sub": "secret-subject", "tenant_id": "t", "exp": 4_000_000_000, "jti": "j" * 40}
    good = mint.mint(Identity("u2", "t", ()))
    head, body, signature = good.split(".")
    forged = base64.urlsafe_b64encode(b"s" * 256).decode().rstrip("=")
    no_algorithm = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    key = foreign.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return [
        mint.mint(Identity("u3", "t", ()), exp=1),
        mint.mint(Identity("u4", "t", ()), iss="https://elsewhere.test"),
        mint.mint(Identity("u5", "t", ()), tenant_id=["t"]),
        jwt.encode(claims, key, "RS256"),
        jwt.encode(claims, key, "RS256", headers={"kid": good}),
        jwt.encode(claims, public.hex(), "HS256"),
        f"{head}.{body}.{forged}",
        f"{no_algorithm}.{body}.",
        f"{head}.{body}",
        f"{body}.{head}.{signature}",
        f"{head}.{'A' * 9000}.{signature}",
        f"{head}.{body}.{signature}\N{SNOWMAN}",
    ]


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_tokens_are_nowhere_but_in_the_handshake(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Driven through refusals, errors and long requests, with everything logged and traced."""
    caplog.set_level(logging.DEBUG)
    logger = logging.getLogger("streamer")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    state = prepare(tmp_path / "state")
    stack = Stack(state, StackOptions(workers=1, verbose=True, traces=str(tmp_path / "spans")))
    try:
        description = await stack.start()
        mint = TokenMint.read(state.private_key, description.issuer, description.audience)
        good = mint.mint(Identity("u", "t", ("probe", "broadcast")))
        bad = _bad_tokens(mint, state)
        messages = await _drive(description.url, good, bad)
        page = json.dumps(stack.live.figures()[1].decode())
        metrics = stack._metrics_page()[1].decode()
    finally:
        await stack.stop()
        traces.stop()
        logger.setLevel(level)
    output = capfd.readouterr()
    logs = "\n".join(r.getMessage() for r in caplog.records if r.name != "websockets.client")
    spans = (tmp_path / "spans").read_text(encoding="utf-8")
    files = [p for p in (tmp_path / "state").rglob("*") if p.is_file() and p.suffix != ".pem"]
    stored = b"".join(path.read_bytes() for path in files).decode("latin-1")
    assert "a token was refused" in output.err
    assert "worker" in spans
    assert "secret-subject" not in logs + output.err
    for place, text in {
        "output": output.out + output.err,
        "logs": logs,
        "spans": spans,
        "metrics": metrics,
        "page": page,
        "stored": stored,
        "messages": messages,
    }.items():
        assert text, place
        for token in (good, *bad):
            leaked = [piece for piece in _pieces(token) if piece in text]
            assert not leaked, f"{place}: {leaked}"


async def _drive(url: str, good: str, bad: list[str]) -> str:
    """Use every token; what the clients got."""
    got: list[str] = []
    for token in bad:
        got.append(await _refused(url, query=token))
        if token.isascii():  # a header holds nothing else
            got.append(await _refused(url, header=token))
    async with websockets.connect(f"{url}?Authorization=Bearer%20{good}") as socket:
        for message in _messages(good):
            await socket.send(message)
        async with asyncio.timeout(20):
            while not any('"complete"' in text for text in got):
                got.append(str(await socket.recv()))
    return "\n".join(got)


def _messages(token: str) -> list[str]:
    def request(name: str, action: str, payload: Any, **members: Any) -> str:
        return json.dumps({"id": name, "action": action, "payload": payload, **members})

    return [
        "{",
        request("a", "no.such", {}),
        request("b", "probe.sync", {"end": "raise"}),
        request("c", "ping", {}, metadata={"correlation_id": token[:1024]}),
        request("d", "probe.async", {"end": "fail"}),
        request("e", "delay", {"duration_ms": 10}),
    ]


async def _refused(url: str, query: str | None = None, header: str | None = None) -> str:
    where = url if query is None else f"{url}?Authorization={quote(query)}"
    headers = {} if header is None else {"Authorization": f"Bearer {header}"}
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(where, additional_headers=headers)
    response = refused.value.response
    assert response.status_code in (400, 401, 414, 431)
    return str(response.headers) + (response.body or b"").decode()
