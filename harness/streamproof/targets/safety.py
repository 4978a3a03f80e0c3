"""What the suite may do to a target that is not on this machine.

A slip must cost a refusal, never somebody's production.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
from urllib.parse import urlsplit

from streamproof.errors import StreamproofError, UsageError

ENVIRONMENTS = ("dev", "test", "staging")
PRODUCTION = "production"
PRODUCTION_MESSAGES_PER_S = 5.0
USD_PER_MILLION_MESSAGES = 1.0  # API Gateway WebSocket list price, us-east-1, first billion
USD_PER_MILLION_INVOCATIONS = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Caps:
    """The most that one run opens and sends; None is no cap, for loopback only."""

    connections: int | None = 200
    messages_per_s: float | None = 50.0
    duration_s: float | None = 600.0
    messages: int | None = 100_000


NO_CAPS = Caps(None, None, None, None)


@dataclasses.dataclass(frozen=True, slots=True)
class Clearance:
    """What a run against this target may do."""

    host: str
    loopback: bool
    environment: str | None
    caps: Caps
    groups: frozenset[str] | None = None  # None is all

    @property
    def production(self) -> bool:
        """Only reading what a stranger could read, slowly, and no broadcasts."""
        return self.environment == PRODUCTION


def host_of(url: str) -> str:
    """The host of a URL; `UsageError` when it has none."""
    try:
        host = urlsplit(url).hostname
    except ValueError as error:
        raise UsageError(f"{url!r} is no URL: {error}") from error
    if not host:
        raise UsageError(f"{url!r} names no host", "write ws://HOST:PORT/STAGE or wss://HOST/STAGE")
    return host


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its spelling; a name is never looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def clear(
    urls: tuple[str, ...], environment: str | None, accept_load_on: str | None = None
) -> Clearance:
    """Decide what a run may do to these addresses; `UsageError` says which word is missing."""
    hosts = [host_of(url) for url in urls]
    remote = [host for host in hosts if not is_loopback(host)]
    if environment is not None and environment not in (*ENVIRONMENTS, PRODUCTION):
        raise UsageError(
            f"no environment is called {environment!r}", "say --environment dev, test or staging"
        )
    if environment == PRODUCTION:
        if any(host != accept_load_on for host in hosts):
            raise UsageError(
                f"{hosts[0]} is production: nothing is sent there",
                f"say --i-accept-load-on {hosts[0]} to run the group connection at "
                f"{PRODUCTION_MESSAGES_PER_S:g} messages per second",
            )
        caps = dataclasses.replace(Caps(), messages_per_s=PRODUCTION_MESSAGES_PER_S)
        return Clearance(hosts[0], not remote, environment, caps, frozenset({"connection"}))
    if not remote:
        return Clearance(hosts[0], True, environment, NO_CAPS)
    if environment is None:
        raise UsageError(
            f"{remote[0]} is not this machine and its environment is not known",
            "say --environment dev, test or staging",
        )
    return Clearance(remote[0], False, environment, Caps())


class CapReachedError(StreamproofError):
    """The run would do more to a remote target than it may: nothing is known about the rest."""


class Pacer:
    """Spaces what a run sends to a remote target and stops it at its caps; free on loopback."""

    def __init__(self, caps: Caps) -> None:
        self.caps = caps
        self.connections_open = 0
        self.messages_sent = 0
        self._next_s = 0.0

    async def open(self) -> None:
        """Wait for a turn and count a connection; `CapReachedError` beyond the cap."""
        if self.caps.connections is not None and self.connections_open >= self.caps.connections:
            raise CapReachedError(f"at most {self.caps.connections} connections at a time")
        self.connections_open += 1
        await self._turn()

    def close(self) -> None:
        """Count a connection that ended."""
        self.connections_open -= 1

    async def send(self) -> None:
        """Wait for the next message's turn; `CapReachedError` beyond the cap."""
        if self.caps.messages is not None and self.messages_sent >= self.caps.messages:
            raise CapReachedError(f"at most {self.caps.messages} messages")
        self.messages_sent += 1
        await self._turn()

    async def _turn(self) -> None:
        if self.caps.messages_per_s is None:
            return
        now_s = asyncio.get_running_loop().time()
        turn_s = max(now_s, self._next_s)
        self._next_s = turn_s + 1 / self.caps.messages_per_s
        if turn_s > now_s:
            await asyncio.sleep(turn_s - now_s)


def announcement(clearance: Clearance, *, connections: int, messages: int) -> str:
    """The line before a run: where, how much, and for a remote target the rough price."""
    line = (
        f"{clearance.host}: opens about {connections} connections, sends about {messages} messages"
    )
    if clearance.loopback:
        return f"{line} (this machine)"
    caps = clearance.caps
    usd = messages * (3 * USD_PER_MILLION_MESSAGES + 2 * USD_PER_MILLION_INVOCATIONS) / 1e6
    return (
        f"{line}, at most {caps.messages_per_s:g} a second, {clearance.environment}; "
        f"roughly USD {max(usd, 0.01):.2f} at AWS list prices"
    )
