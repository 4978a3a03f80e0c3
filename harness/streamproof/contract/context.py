"""What a clause gets: identities, connections, the target's limits, and ways to say what it saw."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import re
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

import websockets
from websockets.asyncio.client import ClientConnection, connect

from streamproof.contract.failures import Broken, NotApplicable, expect
from streamproof.contract.journal import Journal
from streamproof.contract.session import MESSAGE_BYTES_MAX, Patience, Session
from streamproof.dialect import Dialect
from streamproof.errors import HarnessError
from streamproof.targets import Identity, Limits, Target, TokenMint
from streamproof.targets.management import Management
from streamproof.targets.safety import Pacer

HANDSHAKE_S = 15.0
CLOSE_S = 2.0
PERMISSIONS = ("probe", "broadcast")


class _Connect(connect):
    """A redirect is an answer to judge: following it could lead to a host that was not cleared."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Never follow."""
        return exc


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """A handshake that the target answered with another status than 101."""

    status: int
    body: bytes


class Context:
    """One clause's run against one target; `async with` closes what it opened."""

    def __init__(
        self,
        target: Target,
        dialect: Dialect,
        journal: Journal,
        pacer: Pacer,
        *,
        run: str,
        clause: str,
        seed: int,
        judged: bool = True,
        patience: Patience = Patience(),  # noqa: B008 - a frozen value
    ) -> None:
        self.target = target
        self.dialect = dialect
        self.random = random.Random(f"{seed}:{clause}")  # noqa: S311 - reproducible, not secret
        self.limits: Limits = target.description.limits
        self.judged = judged
        self.patience = patience
        self.run = run
        self._journal = journal
        self._pacer = pacer
        # Ids carry the run's name: what a run leaves behind can be told apart and is not met again.
        self._name = f"sp-{run}-{re.sub(r'[^A-Za-z0-9-]', '-', clause)}"
        self._count = 0
        self._sessions: list[Session] = []
        self._tenants: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        closing = [session.close() for session in self._sessions if session.close_code is None]
        await asyncio.gather(*closing, return_exceptions=True)

    def new_id(self) -> str:
        """A request id that this run has not used."""
        self._count += 1
        return f"{self._name}-{self._count}"

    def key(self, word: str) -> str:
        """A name for a count or a nonce of this clause."""
        return f"{self._name}.{word}"

    @property
    def mint(self) -> TokenMint:
        """Makes tokens; only clauses that need MINT ask for it."""
        if self.target.mint is None:
            raise NotApplicable("no private key to make tokens with")
        return self.target.mint

    @property
    def management(self) -> Management:
        """The target's `@connections`; only clauses that need MANAGEMENT ask for it."""
        if self.target.management is None:
            raise NotApplicable("no management endpoint with credentials")
        return self.target.management

    def identity(
        self,
        user: str = "a",
        *,
        tenant: str = "t",
        permissions: tuple[str, ...] = PERMISSIONS,
    ) -> Identity:
        """A user of this clause's own; equal words give equal identities.

        Where tenants are named, they are given out in turn; `NotApplicable` when there are too few.
        """
        named = self.target.options.tenants
        if named:
            index = self._tenants.setdefault(tenant, len(self._tenants))
            if index >= len(named):
                raise NotApplicable("it takes two tenants: name another with --tenant")
            return Identity(f"{self._name}-{user}", named[index], permissions)
        return Identity(f"{self._name}-{user}", f"{self._name}-{tenant}", permissions)

    def token(self, identity: Identity | None = None, **changes: Any) -> str:
        """A good token: of this identity where tokens can be made, else the one that was given."""
        if self.target.mint is not None and (identity or self.target.tokens is self.target.mint):
            return self.target.mint.mint(identity or self.identity(), **changes)
        if identity is not None or changes:
            raise NotApplicable("no private key to make tokens with")
        if self.target.tokens is None:
            raise NotApplicable("no token was given: the target is open to everybody")
        return self.target.tokens.good()

    async def connect(
        self,
        identity: Identity | None = None,
        *,
        token: str | None = None,
        target: Target | None = None,
        **carriers: Any,
    ) -> Session:
        """Open a connection that must succeed; without an identity, as the default user."""
        if identity is None and self.target.mint is not None and token is None:
            identity = self.identity()
        if self.target.tokens is not None and not carriers:
            carriers = {"query": token if token is not None else self.token(identity)}
        opened = await self.handshake(target=target, **carriers)
        if isinstance(opened, Refused):
            raise Broken("the handshake of a good token to be answered 101", opened.status)
        who = f"{identity.user!r} of {identity.tenant!r}" if identity else "the given token"
        return self.adopt(opened, who)

    async def status(self, *, target: Target | None = None, **carriers: Any) -> int:
        """The status of a handshake; a connection that opens is closed again and gives 101."""
        opened = await self.handshake(target=target, **carriers)
        if isinstance(opened, Refused):
            return opened.status
        await opened.close()
        self._pacer.close()
        return 101

    async def handshake(
        self,
        *,
        query: str | None = None,
        header: str | None = None,
        headers: Mapping[str, str] | None = None,
        target: Target | None = None,
    ) -> ClientConnection | Refused:
        """One handshake with the token in the query, the header, both or neither."""
        where = target or self.target
        url = where.url if query is None else f"{where.url}?Authorization={quote(query, safe='')}"
        extra = dict(headers or {})
        if header is not None:
            extra["Authorization"] = header
        await self._pacer.open()
        try:
            return await _Connect(
                url,
                additional_headers=extra,
                ssl=where.tls,
                compression=None,  # what is measured and what is logged is what was sent
                proxy=None if where.loopback else True,
                ping_interval=None,  # control frames are the clause's to send
                open_timeout=HANDSHAKE_S,
                close_timeout=CLOSE_S,
                max_size=MESSAGE_BYTES_MAX,
            )
        except websockets.InvalidStatus as error:
            self._pacer.close()
            body = bytes(error.response.body or b"")
            return Refused(error.response.status_code, body)
        except (OSError, websockets.InvalidHandshake) as error:
            self._pacer.close()
            raise Broken(
                "an answer to the handshake", f"{type(error).__name__}: {error}"
            ) from error

    def adopt(self, socket: ClientConnection, user: str) -> Session:
        """Make a session of an open connection; it is closed with the others."""
        lane = self._journal.lane()
        self._journal.opened(lane, user)
        session = Session(
            socket,
            lane,
            self._journal,
            dialect=self.dialect,
            pacer=self._pacer,
            new_id=self.new_id,
            patience=self.patience,
        )
        self._sessions.append(session)
        return session

    async def count(self, identity: Identity, key: str) -> int:
        """How often the probe of this key began to run in the identity's tenant."""
        session = await self.connect(identity)
        data = await session.data("probe.count", {"key": key})
        await session.close()
        expect(type(data.get("count")) is int, "probe.count to give a whole number", data)
        count: int = data["count"]
        return count

    async def ended_status(self, session: Session, request_id: str) -> dict[str, Any]:
        """Ask `status` until the request has ended; `Broken` when it does not."""
        timeout_s = self.patience.outcome_s
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        pause_s = 0.1
        while True:
            data = await session.data("status", {"request_id": request_id})
            if data.get("status") in ("COMPLETED", "FAILED", "CANCELLED"):
                return data
            if asyncio.get_running_loop().time() > deadline_s:
                raise Broken(f"{request_id} to end within {timeout_s:g} s", data)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)  # few messages: the rate limit counts them

    @contextlib.asynccontextmanager
    async def variant(self, *serve_arguments: str) -> Any:
        """The same system started with other settings, for as long as the block lasts."""
        other = self.target.variant(*serve_arguments)
        try:
            await asyncio.to_thread(other.__enter__)
        except Exception as error:
            raise HarnessError(f"the variant did not start: {error}") from error
        try:
            yield other
        finally:
            await asyncio.to_thread(other.close)
