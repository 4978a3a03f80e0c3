"""$connect and $disconnect: who may come, and that leaving is final."""

from __future__ import annotations

import dataclasses
import json
from functools import cache

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from streamer_reference.auth import TokenRules
from streamer_reference.lambdas.connect import connect
from streamer_reference.lambdas.disconnect import disconnect
from streamer_reference.lambdas.router import router
from support.reference_world import EPOCH_MS, World, kinds
from support.virtual_time import pass_time, run_virtual, virtual_time


@cache
def _key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _world(directory, **options):
    world = World(directory, **options)
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    rules = TokenRules({"k": _key().public_key().public_bytes(*pem).decode()})
    world.services = dataclasses.replace(world.services, token_rules=rules)
    return world


def _token(**claims):
    good = {"sub": "u", "tenant_id": "t", "exp": EPOCH_MS // 1000 + 600, "permissions": ["probe"]}
    return jwt.encode({**good, **claims}, _key(), "RS256")


def _event(token=None, **headers):
    return {
        "headers": {"Host": "x", **headers},
        "queryStringParameters": {"Authorization": token} if token else None,
        "requestContext": {
            "connectionId": "c1",
            "connectedAt": EPOCH_MS,
            "domainName": "api.test",
            "stage": "dev",
            "identity": {"sourceIp": "10.0.0.1", "userAgent": "agent"},
        },
    }


@virtual_time
async def test_a_connection_is_stored_before_the_handshake_completes(tmp_path):
    """CONN-1: every member, and a time to live within the contract's bounds."""
    world = _world(tmp_path)
    assert await connect(_event(_token()), world.services) == {"statusCode": 200}
    stored = await world.store.get_connection("c1")
    assert stored is not None
    assert (stored.user_id, stored.tenant_id, stored.permissions) == ("u", "t", ("probe",))
    assert stored.endpoint == "https://api.test/dev"
    assert stored.token_expires_at_s == EPOCH_MS // 1000 + 600
    assert (stored.source_ip, stored.user_agent) == ("10.0.0.1", "agent")
    assert stored.connected_at_ms == stored.last_ping_ms == EPOCH_MS
    assert 7200 < stored.expires_at_s - EPOCH_MS // 1000 <= 86_400
    assert world.clients.posts == 0


@pytest.mark.parametrize(
    ("claims", "headers", "options", "status"),
    [
        ({"sub": ""}, {}, {}, 401),
        ({"exp": EPOCH_MS // 1000 - 61}, {}, {}, 401),
        ({"exp": 10**400}, {}, {}, 401),
        ({}, {}, {"tenants": '["other"]'}, 403),
        ({}, {}, {"tenants": '["t"]'}, 200),
        ({}, {"origin": "https://evil.test"}, {"origins": '["https://good.test"]'}, 403),
        ({}, {"Origin": "https://good.test"}, {"origins": '["https://good.test"]'}, 200),
        ({}, {}, {"origins": '["https://good.test"]'}, 200),
    ],
)
def test_a_refusal_is_a_status(tmp_path, capsys, claims, headers, options, status):
    """AUTH-4, AUTH-9: why is logged, without the token, and nothing is stored."""

    async def scenario():
        world = _world(tmp_path, **options)
        token = _token(**claims)
        assert await connect(_event(token, **headers), world.services) == {"statusCode": status}
        assert (await world.store.get_connection("c1") is not None) == (status == 200)
        assert token not in capsys.readouterr().err
        world.services.metrics.flush()
        failed = [line for line in world.metrics if "AuthenticationFailed" in line]
        assert len(failed) == (status == 401)

    run_virtual(scenario())


@virtual_time
async def test_no_token_and_a_failing_store(tmp_path):
    """401 and 500."""
    world = _world(tmp_path)
    assert await connect(_event(), world.services) == {"statusCode": 401}
    world.services.store.failing["put_connection"] = 1
    assert await connect(_event(_token()), world.services) == {"statusCode": 500}


@virtual_time
async def test_a_token_is_nowhere(tmp_path, capsys):
    """AUTH-6: in no log line, stored item, metric or message, whether it was good or not."""
    world = _world(tmp_path)
    world.clients.arrived["c1"] = []
    tokens = [_token(), _token(exp=1), _token() + "x"]
    for token in tokens:
        await connect(_event(token), world.services)
        await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
        await world.run()
        await disconnect(_event(token), world.services)
    await connect(_event(tokens[0]), world.services)
    world.services.metrics.flush()
    told = [*capsys.readouterr(), json.dumps(world.metrics), json.dumps(world.got("c1"))]
    files = [path.read_bytes().decode("latin-1") for path in tmp_path.glob("store.sqlite*")]
    for token in tokens:
        signature = token.rpartition(".")[2]
        assert not any(part in text for text in told + files for part in (token, signature))


@virtual_time
async def test_connecting_says_nothing_and_disturbs_nobody(tmp_path):
    """CONN-5: no message that was not asked for, and the user's other connection stays usable."""
    world = _world(tmp_path)
    await world.connect("c0")
    world.clients.arrived["c1"] = []
    await connect(_event(_token()), world.services)
    await pass_time(60)
    assert world.clients.posts == 0
    assert kinds(await world.say("c0", "ping")) == ["response"]
    assert kinds(await world.say("c1", "ping")) == ["response"]


@virtual_time
async def test_disconnecting_twice_is_fine_and_final(tmp_path):
    """CONN-2, CONN-4: its requests go on, and nothing brings it back."""
    world = _world(tmp_path)
    await connect(_event(_token(permissions=[])), world.services)
    world.clients.arrived["c1"] = []
    await world.say("c1", "delay", {"duration_ms": 1}, id="r1")
    await pass_time(7)
    for _ in range(2):
        assert await disconnect(_event(), world.services) == {"statusCode": 200}
    assert await world.store.get_connection("c1") is None
    assert world.services.manager._connections == {}
    world.services.metrics.flush()
    assert sum(line.get("ConnectionClosed", [0])[0] for line in world.metrics) == 1
    durations = [
        line["ConnectionDuration"] for line in world.metrics if "ConnectionDuration" in line
    ]
    assert [round(value) for value in durations[0]] == [7]
    await world.run()
    assert (await world.stored("r1")).request.status == "COMPLETED"
    assert await world.store.get_connection("c1") is None


@virtual_time
async def test_the_router_function_always_answers_200(tmp_path):
    """What it has to say goes through `@connections`."""
    world = _world(tmp_path)
    await world.connect("c1")
    event = {"requestContext": {"connectionId": "c1"}, "body": '{"action":"ping"}'}
    assert await router(event, world.services) == {"statusCode": 200}
    assert await router({**event, "body": None}, world.services) == {"statusCode": 200}
    assert kinds(world.got("c1")) == ["response", "error"]
