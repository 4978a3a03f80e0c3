"""The layer between what clauses speak of and what a system says.

Clauses speak of roles (a short, a long, a failing, a broadcasting request) and of outcomes; a
dialect says how a system spells them. Clauses about our own message names use `dialect.streamer`.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Protocol


class Role(enum.StrEnum):
    """A kind of request by what it does, whatever it is called."""

    SHORT = "short"  # answered at once, with what was sent
    LONG = "long"  # acknowledged, reports progress, ends with what was sent
    FAILING = "failing"  # acknowledged, ends with a failure
    BROADCASTING = "broadcasting"  # reaches the tenant's connections


class Kind(enum.StrEnum):
    """What a server's message is to the request it belongs to."""

    ACKNOWLEDGMENT = "acknowledgment"
    PROGRESS = "progress"
    ANSWER = "answer"  # the one answer to a short request
    RESULT = "result"  # a long request ended well
    FAILURE = "failure"  # it failed, or was refused
    BROADCAST = "broadcast"
    UNKNOWN = "unknown"  # no message of this dialect


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A server's message as a dialect understands it; what it does not carry is None."""

    kind: Kind
    request_id: str | None = None
    sequence: int | None = None
    percentage: Any = None
    value: Any = None  # the payload that a result, an answer or a broadcast carries
    code: str | None = None
    final: bool = False  # ends its request


class Dialect(Protocol):
    """How a system spells requests and messages."""

    @property
    def name(self) -> str:
        """What a report calls it."""
        ...

    @property
    def roles(self) -> frozenset[Role]:
        """The roles that are bound; a clause that needs another is not applicable."""
        ...

    def request(self, role: Role, request_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """The message that starts a request of this role."""
        ...

    def read(self, message: Any) -> Reading:
        """What a parsed message is; never raises, whatever a server sends."""
        ...
