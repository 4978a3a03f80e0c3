"""What the clients of a world do, drawn from its seed before anything runs."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

USERS = (
    ("ann", "t-1", ("probe", "broadcast")),
    ("bob", "t-1", ("probe", "broadcast")),
    ("ann", "t-2", ("probe",)),  # the same `sub` in another tenant is another user
    ("eve", "t-1", ()),
    ("old", "t-2", ()),  # whose token expires while connected
)
EXPIRING = 4
EXPIRES_S = {"old": 2}
REQUESTS = (1, 8)  # long requests of a world
IDS = ("r-1", "r-2", "r-3")  # few, so that users meet in them
ACTIVE_S = 6.0  # when the clients ask
FOLLOWER, RETURNED = 2, 3  # connections that subscribe: the checker takes one for either
BIG = 140_000  # a result that fits no message


@dataclasses.dataclass(frozen=True, slots=True)
class Act:
    """One thing that a client does; `tag` tells the sends of equal ids apart."""

    at_s: float
    user: int
    slot: int
    kind: str  # ask, raw, leave, deaf
    message: dict[str, Any] = dataclasses.field(default_factory=dict)
    text: str = ""
    tag: str = ""
    lasts_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """The acts in their order, and what the world is like."""

    acts: tuple[Act, ...]
    in_flight: int
    messages_per_minute: int
    sweep_s: float
    sweepers: int


class Planner:
    """Draws the plan of one seed."""

    def __init__(self, seed: int) -> None:
        """The dice are the seed's own."""
        self._dice = random.Random(f"{seed} plan")  # noqa: S311 - a seed's own dice
        self._acts: list[Act] = []
        self._controls = 0

    def plan(self, *, leaving: float, deaf: float) -> Plan:
        """`leaving` and `deaf` are the rates of clients that go or stop reading."""
        dice = self._dice
        users = dice.sample(range(EXPIRING), dice.choice((1, 2, 2, 3)))
        if USERS[users[0]][0] == "eve":
            users.append(0)
        for number in range(dice.randint(*REQUESTS)):
            self._long(dice.choice(users), number)
        for _ in range(dice.choice((0, 0, 1, 1, 2))):
            self._other(dice.choice(users))
        if dice.random() < 0.05:
            ping = {"id": "c-old", "action": "ping"}
            self._add(self._moment(), EXPIRING, 0, "ask", message=ping)
        for user in users:
            if dice.random() < leaving:
                self._add(self._moment(), user, 0, "leave", lasts_s=dice.uniform(0.05, 8))
            if dice.random() < deaf:
                self._add(self._moment(), user, 0, "deaf", lasts_s=dice.uniform(0.2, 12))
        limited = dice.random()
        return Plan(
            acts=tuple(sorted(self._acts, key=lambda act: act.at_s)),
            in_flight=dice.choice((1, 2)) if limited < 0.15 else 100,
            messages_per_minute=3 if limited > 0.9 else 100,
            sweep_s=dice.choice((1.0, 2.0, 5.0)),
            sweepers=dice.choice((1, 1, 2)),
        )

    def _moment(self) -> float:
        return round(self._dice.uniform(0.1, ACTIVE_S), 4)

    def _add(self, at_s: float, user: int, slot: int, kind: str, **fields: Any) -> None:
        self._acts.append(Act(at_s, user, slot, kind, **fields))

    def _long(self, user: int, number: int) -> None:
        """A long request, and what its user does about it."""
        dice, at_s = self._dice, self._moment()
        request_id, tag = dice.choice(IDS), f"{number}"
        slot = dice.choice((0, 0, 0, 1))
        message: dict[str, Any] = {"id": request_id, "action": "probe.async"}
        message["payload"] = self._payload(tag)
        if dice.random() < 0.1:
            payload = {"payload": {"tag": tag}, "steps": dice.randint(0, 4), "step_ms": 60}
            message |= {"action": "echo_async", "payload": payload}
        if dice.random() < 0.3:
            message["metadata"] = {"correlation_id": f"client-{request_id}"}
        self._add(at_s, user, slot, "ask", message=message, tag=tag)
        if dice.random() < 0.2:  # as a client that does not know whether it was heard
            tagged = {**message["payload"], **_tagged(message, f"{number}again")}
            again = {**message, "payload": tagged}
            later_s = at_s + dice.uniform(0.001, 2)
            where = dice.choice((0, 1))
            self._add(later_s, user, where, "ask", message=again, tag=f"{number}again")
        for action, chance in (
            ("cancel", 0.25),
            ("subscribe", 0.2),
            ("status", 0.15),
            ("unsubscribe", 0.03),
        ):
            if dice.random() < chance:
                later_s = at_s + dice.expovariate(1.2)
                follows = action in ("subscribe", "unsubscribe")
                slot = FOLLOWER if follows else dice.choice((0, 1))
                self._control(later_s, user, slot, action, request_id)

    def _payload(self, tag: str) -> dict[str, Any]:
        dice = self._dice
        steps = [
            {"ms": dice.choice((0, 5, 40, 120, 400)), "percentage": dice.choice((10, 30, 60, 100))}
            for _ in range(dice.choice((0, 1, 2, 3, 5)))
        ]
        payload: dict[str, Any] = {"steps": steps, "result": {"tag": tag}, "count_key": tag}
        end = dice.random()
        if end < 0.10:
            payload |= {"end": "fail", "code": dice.choice(("SERVICE_UNAVAILABLE", "NOT_FOUND"))}
        elif end < 0.25:
            payload |= {"end": "retryable", "end_attempts": dice.choice((1, 2, 2, 9))}
        elif end < 0.35:
            payload |= {"end": "crash", "end_attempts": dice.choice((1, 1, 2, 5, 9))}
        elif end < 0.40:
            payload |= {"end": "hang", "time_limit_ms": dice.choice((300, 2000))}
        elif end < 0.43:
            payload |= {"steps": [], "result_bytes": BIG}
            del payload["result"]
        return payload

    def _control(self, at_s: float, user: int, slot: int, action: str, about: str) -> None:
        self._controls += 1
        payload = {"request_id": about}
        message = {"id": f"c-{self._controls}", "action": action, "payload": payload}
        self._add(at_s, user, slot, "ask", message=message)

    def _other(self, user: int) -> None:
        """A short request, a refused one, or a broadcast."""
        dice, at_s = self._dice, self._moment()
        self._controls += 1
        name = f"c-{self._controls}"
        messages: tuple[dict[str, Any], ...] = (
            {"action": "echo", "payload": {"said": name}},
            {"action": "ping"},
            {"action": "probe.whoami"},
            {"action": "probe.sync", "payload": {"ms": 200}},
            {"action": "probe.sync", "payload": {"end": "fail", "code": "SERVICE_UNAVAILABLE"}},
            {"action": "probe.sync", "payload": {"end": "raise"}},
            {"action": "probe.sync", "payload": {"end": "hang"}},
            {"action": "nobody.knows"},
            {"action": "probe.async", "payload": {"end": "nonsense"}},
            {"action": "broadcast", "payload": {"payload": {"said": name}}},
            {"action": "broadcast", "payload": {"payload": {"said": name}}},
            {"action": "cancel", "payload": {"request_id": "r-none"}},
        )
        if dice.random() < 0.12:
            text = dice.choice(('{"id":', "[]", '{"action": 7}', '{"a":1,"a":2}', "NaN"))
            self._add(at_s, user, 0, "raw", text=text)
            return
        message = {"id": name, **dice.choice(messages)}
        if dice.random() < 0.1:
            del message["id"]
        self._add(at_s, user, 0, "ask", message=message)


def _tagged(message: dict[str, Any], tag: str) -> dict[str, Any]:
    if message["action"] == "echo_async":
        return {"payload": {"tag": tag}}
    return {"count_key": tag} | ({"result": {"tag": tag}} if "result" in message["payload"] else {})
