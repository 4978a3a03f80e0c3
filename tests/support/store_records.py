"""Requests and connections for tests of stores."""

from __future__ import annotations

from streamer_reference.core.rate import RateLimit
from streamer_reference.store.base import Connection, Request

NO_LIMIT = RateLimit(0, 0)


def request_of(key="k", **fields):
    """A request as the router stores it."""
    defaults = {
        "key": key,
        "tenant_id": "t",
        "user_id": "u",
        "request_id": key,
        "connection_id": "c",
        "action": "a",
        "payload": "{}",
        "metadata": "{}",
        "permissions": "[]",
        "correlation_id": "x",
        "created_at_ms": 1000,
        "changed_at_ms": 1000,
        "expires_at_s": 10_000,
    }
    return Request(**{**defaults, **fields})


def connection_of(connection_id="c", **fields):
    """A connection as $connect stores it."""
    defaults = {
        "tenant_id": "t",
        "user_id": "u",
        "permissions": ("p", "q"),
        "endpoint": "e",
        "connected_at_ms": 1,
        "last_ping_ms": 1,
        "token_expires_at_s": 5.5,
        "source_ip": "i",
        "user_agent": "g",
        "expires_at_s": 100,
    }
    return Connection(connection_id, **{**defaults, **fields})


async def accept(store, key="k", **fields):
    """Store a request with its acknowledgment."""
    await store.accept(request_of(key, **fields), "ack", NO_LIMIT, 0)


async def claimed(store, key="k", worker="w", now_ms=2000):
    """A request that a worker holds."""
    await accept(store, key)
    await store.acknowledged(key, True, now_ms)
    return await store.claim(key, worker, now_ms, alone=False)
