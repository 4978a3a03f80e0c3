"""Where users connect to, as whom, and how messages are written there."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

from streamproof.dialect import Kind, Reading, Role, StreamerDialect

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Dialect(Protocol):
    """What a load run needs of a dialect: `streamproof.dialect.Dialect` has it."""

    def request(self, role: Role, request_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The message that starts a request of this role."""
        ...

    def read(self, message: Any) -> Reading:
        """What a parsed message is; never raises."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class EchoDialect:
    """A server that sends every message back: the answer to a request is the request itself.

    Requests are the same bytes as Streamer's, so that both servers carry the same load.
    """

    def request(self, role: Role, request_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """As Streamer's."""
        return StreamerDialect().request(role, request_id, payload)

    def read(self, message: Any) -> Reading:
        """The request that came back, its payload as the value."""
        if not isinstance(message, dict) or not isinstance(message.get("id"), str):
            return Reading(Kind.UNKNOWN)
        return Reading(Kind.ANSWER, message["id"], value=message.get("payload"), final=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Endpoint:
    """A WebSocket address; `token(number)` makes the credential of the user with that number.

    `checked` says that the history checker knows the messages that come from there.
    """

    name: str
    url: str
    dialect: Dialect
    token: Callable[[int], str] | None = None
    checked: bool = True
    ca: str | None = None  # of the target's description

    def headers(self, number: int) -> Mapping[str, str]:
        """The handshake's headers: the token goes here and never into the address."""
        return {} if self.token is None else {"Authorization": self.token(number)}
