"""The clients of a world: they follow the plan, come back when they were cut off, and remember."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from streamproof.history import HistoryChecker
from streamproof.simulation.gateway import Gateway
from streamproof.simulation.loop import SimulationLoop
from streamproof.simulation.plan import EXPIRES_S, RETURNED, USERS, Act
from streamproof.simulation.trace import Trace

OUTCOMES = ("complete", "error")
TRIES_MAX = 40  # handshakes of one client that nobody answers
RETRY_S = 0.5
DAY_S = 86_400


@dataclasses.dataclass(slots=True)
class Sent:
    """One message that went out, and whether its answer may have been lost on the way."""

    connection: str
    user: int
    request_id: str
    action: str
    about: str
    tag: str
    harmed: bool = False

    def harm(self) -> None:
        """A fault met its router."""
        self.harmed = True


class Link:
    """One connection, open or ended."""

    def __init__(self, clients: Clients, user: int, slot: int, name: str) -> None:
        """Named for a reader: user, slot, and how often it came back."""
        self.clients = clients
        self.user = user
        self.slot = slot
        self.name = name
        self.deaf = False
        self.open = True
        self.messages: list[dict[str, Any]] = []

    def receive(self, text: str) -> None:
        """The gateway brings a message."""
        self.clients.received(self, text)

    def dropped(self) -> None:
        """The gateway closed the connection."""
        self.clients.lost(self, "closed by the server")


class Clients:
    """All users' connections, and everything that was sent and received on them."""

    def __init__(
        self, loop: SimulationLoop, gateway: Gateway, trace: Trace, token: Callable[..., str]
    ) -> None:
        """Nobody is connected yet."""
        self._loop = loop
        self._gateway = gateway
        self._trace = trace
        self._token = token
        self.checker = HistoryChecker(faults=True)
        self.links: dict[tuple[int, int], Link] = {}
        self.all_links: list[Link] = []
        self.sent: list[Sent] = []
        self.under_way = 0
        self._visits: dict[tuple[int, int], int] = {}
        self._asked = 0

    # Connections

    async def connect(self, user: int, slot: int) -> Link | None:
        """A connection of this user, a new one when there is none; None when nobody answers."""
        there = self.links.get((user, slot))
        if there is not None and there.open:
            return there
        name, tenant, permissions = USERS[user]
        for _ in range(TRIES_MAX):
            visit = self._visits[user, slot] = self._visits.get((user, slot), 0) + 1
            link = Link(self, user, slot, f"{name}@{tenant}/{slot}.{visit}")
            expires_s = EXPIRES_S.get(name, DAY_S)
            token = self._token(name, tenant, permissions, expires_s)
            status = await self._gateway.connect(link.name, token, link)
            self._trace.add("connect", link.name, str(status))
            self._trace.classes[f"handshake {status}"] += 1
            if status == 200:
                self.links[user, slot] = link
                self.all_links.append(link)
                self.checker.opened(link.name, user=f"{name}@{tenant}")
                return link
            await self._loop.pass_time(RETRY_S)
        return None

    def leave(self, link: Link) -> None:
        """The client's socket breaks."""
        self.lost(link, "closed by the client")
        self._gateway.closed_by_client(link.name)

    def lost(self, link: Link, why: str) -> None:
        """The connection has ended."""
        if link.open:
            link.open = False
            self.checker.closed(link.name)
            self._trace.add("close", link.name, why)
            self._trace.classes[f"connection {why}"] += 1

    # Messages

    def do(self, act: Act) -> None:
        """Follow the plan."""
        self.under_way += 1
        self._loop.go(self._do(act))

    async def _do(self, act: Act) -> None:
        try:
            link = await self.connect(act.user, act.slot)
            if link is None:
                return
            match act.kind:
                case "ask":
                    await self.ask(link, act.message, act.tag)
                case "raw":
                    await self._say(link, act.text, Sent(link.name, act.user, "", "", "", ""))
                case "leave":
                    self.leave(link)
                    await self._loop.pass_time(act.lasts_s)
                    await self._return(act.user)
                case "deaf":
                    link.deaf = True
                    self._trace.add("deaf", link.name, f"for {act.lasts_s:.1f} s")
                    await self._loop.pass_time(act.lasts_s)
                    link.deaf = False
        finally:
            self.under_way -= 1

    async def _return(self, user: int) -> None:
        """Come back and ask for what one was cut off from."""
        link = await self.connect(user, RETURNED)
        if link is None:
            return
        asked = {s.request_id for s in self.sent if s.user == user and s.tag}
        for request_id in sorted(asked):
            self._asked += 1
            await self.ask(
                link,
                {
                    "id": f"b-{self._asked}",
                    "action": "subscribe",
                    "payload": {"request_id": request_id},
                },
            )

    async def ask(self, link: Link, message: dict[str, Any], tag: str = "") -> Sent:
        """Send a request; returns when its router is done with it."""
        payload = message.get("payload", {})
        about = payload.get("request_id", "") if isinstance(payload, dict) else ""
        sent = Sent(link.name, link.user, message.get("id", ""), message["action"], about, tag)
        await self._say(link, json.dumps(message), sent)
        return sent

    async def _say(self, link: Link, text: str, sent: Sent) -> None:
        if not link.open:
            return
        self.sent.append(sent)
        follows = sent.about if sent.action == "subscribe" else None
        self.checker.sent(link.name, sent.request_id or None, subscribes_to=follows)
        self._trace.add("sent", link.name, text, sent.about or sent.request_id)
        await self._gateway.message(link.name, text, sent.harm)

    def received(self, link: Link, text: str) -> None:
        """A message arrived on an open connection."""
        message = json.loads(text)
        link.messages.append(message)
        shown = text if len(text) <= 400 else f"{text[:400]}... ({len(text)} characters)"
        about = message.get("request_id", "")
        self._trace.add("received", link.name, shown, about)
        kind = message["error"]["code"] if message["type"] == "error" else message["type"]
        self._trace.classes[f"got {kind}"] += 1
        self.checker.observe(link.name, message, self._loop.time(), text=text)
