"""The built-in dialect: Streamer's own messages (docs/contract.md, sections 2 to 4)."""

from __future__ import annotations

import dataclasses
from typing import Any

from streamproof.dialect.base import Kind, Reading, Role

_KINDS = {
    "acknowledgment": Kind.ACKNOWLEDGMENT,
    "progress": Kind.PROGRESS,
    "response": Kind.ANSWER,
    "complete": Kind.RESULT,
    "error": Kind.FAILURE,
    "broadcast": Kind.BROADCAST,
}
_FINAL = frozenset({Kind.ANSWER, Kind.RESULT, Kind.FAILURE})


@dataclasses.dataclass(frozen=True, slots=True)
class StreamerDialect:
    """Ours; without the probe pack no failing request is bound."""

    probe: bool = True
    name: str = "streamer"

    @property
    def roles(self) -> frozenset[Role]:
        """All four with the probe pack; `failing` needs it."""
        return frozenset(Role) if self.probe else frozenset(Role) - {Role.FAILING}

    def request(self, role: Role, request_id: str, payload: dict[str, Any]) -> dict[str, Any]:
        """`echo`, `probe.async` (or `echo_async`), a failing `probe.async`, `broadcast`."""
        match role:
            case Role.SHORT:
                action, body = "echo", payload
            case Role.BROADCASTING:
                action, body = "broadcast", {"payload": payload}
            case Role.FAILING:
                steps = [{"percentage": 30, "ms": 5}]
                action = "probe.async"
                body = {"steps": steps, "end": "fail", "code": "PROCESSING_FAILED"}
            case Role.LONG if self.probe:
                steps = [{"percentage": 25 * step, "ms": 20} for step in (1, 2, 3)]
                action, body = "probe.async", {"steps": steps, "result": payload}
            case Role.LONG:
                action, body = "echo_async", {"payload": payload, "steps": 3, "step_ms": 20}
        return {"id": request_id, "action": action, "payload": body}

    def read(self, message: Any) -> Reading:
        """Read by `type`; an unreadable member is as an absent one."""
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            return Reading(Kind.UNKNOWN)
        kind = _KINDS.get(message["type"], Kind.UNKNOWN)
        error = message.get("error")
        code = error.get("code") if isinstance(error, dict) else None
        duplicate = code == "DUPLICATE_REQUEST"
        return Reading(
            kind,
            request_id=_text(message.get("request_id")),
            sequence=_whole(message.get("sequence")),
            percentage=message.get("percentage"),
            value=_value(kind, message),
            code=_text(code),
            final=kind in _FINAL and not duplicate,
        )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _value(kind: Kind, message: dict[str, Any]) -> Any:
    if kind is Kind.RESULT:
        return message.get("result")
    if kind is Kind.BROADCAST:
        return message.get("payload")
    if kind is Kind.ANSWER:
        data = message.get("data")
        return data["echo"] if isinstance(data, dict) and "echo" in data else data
    return None
