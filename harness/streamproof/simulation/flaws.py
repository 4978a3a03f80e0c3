"""Stores that break one promise, for the mutants whose mistake is in the store itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from streamproof.simulation.store import ENDED, SimulatedStore

_Store = Any  # a store whose methods are replaced


def claims_what_is_held(store: _Store) -> None:
    """A claim asks only whether the request has ended."""
    store.may_be_claimed = lambda request, *_: request.outcome is None


def claims_what_has_ended(store: _Store) -> None:
    """A claim asks for nothing but the acknowledgment."""
    store.may_be_claimed = lambda request, *_: request.status != "ACCEPTED"


def ignores_the_attempt(store: _Store) -> None:
    """Whoever held the request once may write."""

    def held(key: str, _attempt: int) -> Any:
        stored = store.requests.get(key)
        return stored if stored is not None and stored.request.outcome is None else None

    store.held = held


def ends_what_has_ended(store: _Store) -> None:
    """A second outcome takes the first one's place."""
    store.may_be_ended = lambda _: True


def numbers_anything(store: _Store) -> None:
    """A number is not compared with the last one."""
    store.may_be_numbered = lambda stored, _: not stored.outbox.closed


def forgets_reused_ids(store: _Store) -> None:
    """An id that comes again overwrites what it named."""
    store.earlier = lambda _: None


def forgets_ended_ids(store: _Store) -> None:
    """The id of a request that has ended may come again."""

    def earlier(key: str) -> Any:
        stored = store.requests.get(key)
        return None if stored is None or stored.request.status in ENDED else stored

    store.earlier = earlier


def enqueues_before_the_acknowledgment(store: _Store) -> None:
    """What is accepted can be claimed at once, as if it were acknowledged."""
    accept = store.accept

    async def accept_pending(request: Any, *rest: Any) -> None:
        await accept(request, *rest)
        stored = store.requests[request.key]
        outbox = dataclasses.replace(stored.outbox, taken=True)
        pending = dataclasses.replace(request, status=store.words.status("PENDING"))
        store.put(dataclasses.replace(stored, request=pending, outbox=outbox))

    async def acknowledged(*_: Any) -> bool:
        return True

    store.accept, store.acknowledged = accept_pending, acknowledged


def deletes_and_creates(store: _Store) -> None:
    """A claim takes the request out and puts it in again: a crash between loses it."""
    claim = store.claim

    async def split(key: str, *rest: Any, **options: Any) -> Any:
        stored = await store.write("delete", key, lambda: store.requests.pop(key, None))
        if stored is not None:
            await store.write("create", key, lambda: store.requests.__setitem__(key, stored))
        return await claim(key, *rest, **options)

    store.claim = split


FLAWS: dict[str, Callable[[SimulatedStore], None]] = {
    flaw.__name__: flaw
    for flaw in (
        claims_what_is_held,
        claims_what_has_ended,
        ignores_the_attempt,
        ends_what_has_ended,
        numbers_anything,
        forgets_reused_ids,
        forgets_ended_ids,
        enqueues_before_the_acknowledgment,
        deletes_and_creates,
    )
}
