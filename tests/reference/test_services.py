"""What a process is built of, and what its parts tell each other."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from streamer_reference.connection.errors import GoneError
from streamer_reference.handlers.registry import Registry
from streamer_reference.observability.metrics import Metrics
from streamer_reference.services import build
from streamer_reference.settings import Settings
from streamer_reference.sigv4 import Credentials
from streamer_reference.store.base import Connection


class _Clock:
    def __init__(self):
        self.ms = 1_742_086_800_000

    def now_ms(self):
        return self.ms


@pytest.fixture
async def built(tmp_path, monkeypatch, capsys):
    """Services on a clock of their own, the metrics' lines, and the log of building."""
    monkeypatch.setattr(Registry, "load_entry_points", lambda self: ["team: it is broken"])
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    key = tmp_path / "key.pem"
    key.write_bytes(ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*pem))
    settings = Settings(
        store=str(tmp_path / "store.sqlite"),
        management_url="http://127.0.0.1:9/dev",
        region="us-east-1",
        token_keys=json.dumps({"k": str(key)}),
        objects_directory=str(tmp_path / "objects"),
        objects_url="http://127.0.0.1:9/objects",
        handlers=json.dumps([str(tmp_path / "missing.py")]),
    )
    lines: list[dict] = []
    services = build(
        settings,
        Credentials("AKID", "secret"),
        metrics=Metrics(lambda line: lines.append(json.loads(line))),
        clock=_Clock(),
    )
    yield services, lines, capsys.readouterr().err
    await services.aclose()


async def test_a_gone_connection_is_removed_but_not_while_its_handshake_may_run(built):
    """SEND-3: 410 deletes it, unless it was stored less than 30 s ago."""
    services, _, _ = built

    async def gone(*_args, **_options):
        raise GoneError("410")

    services.client.post_to_connection = gone
    now_ms = services.clock.now_ms()
    fields = ("t", "u", (), "e", now_ms, now_ms, 1.0, "i", "a", 1)
    await services.store.put_connection(Connection("c1", *fields))
    await services.manager.send("c1", b"{}")
    assert await services.store.get_connection("c1") is not None
    services.clock.ms += 30_000
    await services.manager.send("c1", b"{}")
    assert await services.store.get_connection("c1") is None
    await services.manager.send("c1", b"{}")


async def test_sends_are_counted(built):
    """OBS-2: taken or not."""
    services, lines, _ = built

    async def take(*_args, **_options):
        return 200

    async def gone(*_args, **_options):
        raise GoneError("410")

    services.client.post_to_connection = take
    await services.manager.send("c1", b"{}")
    services.client.post_to_connection = gone
    await services.manager.send("c1", b"{}")
    services.metrics.flush()
    assert (lines[0]["MessageSent"], lines[0]["MessageFailed"]) == ([1], [1])


async def test_broken_handlers_are_named_and_take_no_other_down(built):
    """ROUTE-5: the file and the entry point are in the log; `echo` is there."""
    services, _, log = built
    assert services.registry.get("echo") is not None
    assert services.objects is not None
    assert "missing.py" in log
    assert "team: it is broken" in log
