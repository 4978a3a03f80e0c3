"""The synchronous faces: one loop and one set of services per process."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from streamer_reference.lambdas import disconnect, runtime, sweeper
from streamer_reference.lambdas import worker as worker_function
from streamer_reference.settings import Settings
from support.reference_world import World
from support.virtual_time import virtual_time


@pytest.fixture
def _environment(tmp_path, monkeypatch):
    """A function's environment, and an end that a real one never has."""
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    key = tmp_path / "key.pem"
    key.write_bytes(ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*pem))
    settings = Settings(
        store=str(tmp_path / "store.sqlite"),
        management_url="http://127.0.0.1:9/dev",
        region="us-east-1",
        token_keys=json.dumps({"k": str(key)}),
    )
    for name, value in settings.to_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    yield
    loop = runtime._loop()
    loop.run_until_complete(runtime._services().aclose())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    runtime._services.cache_clear()
    runtime._loop.cache_clear()


@pytest.mark.usefixtures("_environment")
def test_handlers_share_one_loop_and_its_services():
    """What the first invocation builds the next ones use."""
    event = {"requestContext": {"connectionId": "c1", "connectedAt": 0}}
    assert disconnect.handler(event, None) == {"statusCode": 200}
    first = runtime._services()
    assert sweeper.handler({}, None) == {"statusCode": 200}
    context = SimpleNamespace(aws_request_id="i1", get_remaining_time_in_millis=lambda: 900_000)
    assert worker_function.handler({"request_keys": []}, context) == {"statusCode": 200}
    assert runtime._services() is first
    with pytest.raises(RuntimeError, match="may not invoke"):
        first.invoke("worker", {})


@virtual_time
async def test_a_worker_is_kept_from_invocation_to_invocation(tmp_path, monkeypatch):
    """It is named after the log stream, which is the environment's own."""
    monkeypatch.setenv("AWS_LAMBDA_LOG_STREAM_NAME", "stream-7")
    world = World(tmp_path)
    await world.connect("c1")
    context = SimpleNamespace(aws_request_id="i1", get_remaining_time_in_millis=lambda: 900_000)
    for number in (1, 2):
        await world.say("c1", "delay", {"duration_ms": 1}, id=f"r{number}")
        event = {"request_keys": [world.key(f"r{number}")], "alone": True}
        assert await worker_function.worker(event, world.services, context) == {"statusCode": 200}
        assert world.check("c1", f"r{number}")[-1]["type"] == "complete"
        assert (await world.stored(f"r{number}")).request.worker_id == "stream-7"
    del worker_function._workers[id(world.services)]
