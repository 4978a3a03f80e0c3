"""The checker finds each invariant broken, and nothing in a history that keeps them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from streamproof.history import HistoryChecker

NOW_MS = 1_742_086_800_000


def message(kind: str, sequence: int | None = None, request_id: str = "r", **members: Any) -> Any:
    """A server's message that is right unless `members` say otherwise."""
    made: dict[str, Any] = {"type": kind, "timestamp": NOW_MS, "request_id": request_id}
    if sequence is not None:
        made["sequence"] = sequence
    if kind in ("response", "complete"):
        made |= {"success": True} | ({"data": {}} if kind == "response" else {"result": 1})
    if kind == "error":
        made["error"] = {"code": "NOT_FOUND", "message": "m", "retry": {"retryable": False}}
    if kind == "progress":
        made["percentage"] = 50
    return made | members


def error(code: str, sequence: int | None = None, **members: Any) -> Any:
    """An error with this code."""
    body = {"code": code, "message": "m", "retry": {"retryable": False}}
    return message("error", sequence, **members) | {"error": body}


def judged(*messages: Any, sends: int = 1) -> list[str]:
    """The rules that these messages break on one connection that sent the request."""
    checker = HistoryChecker()
    checker.opened("c", user="u")
    for _ in range(sends):
        checker.sent("c", "r")
    for number, item in enumerate(messages):
        checker.observe("c", item, float(number))
    checker.closed("c")
    return [violation.rule for violation in checker.finish()]


ACK = message("acknowledgment", 0)
LONG = (ACK, message("progress", 1), message("progress", 2), message("complete", 3))


@pytest.mark.parametrize(
    "messages",
    [
        LONG,
        (ACK, message("error", 1)),
        (
            ACK,
            message("complete", 1, result_url="u") | {"result_url": "u"},
        )[:1],
        (message("response", 0),),
        (message("error", 0),),
        (*LONG, error("DUPLICATE_REQUEST")),
        (ACK, ACK, message("progress", 1), message("progress", 1), message("complete", 2)),
        (ACK, message("progress", 1, percentage=Decimal("99.9")), message("complete", 2)),
    ],
)
def test_right_histories_break_nothing(messages) -> None:
    """Order, repeats, refusals, duplicates: all as the contract has them."""
    assert judged(*messages) == []


@pytest.mark.parametrize(
    ("rule", "messages"),
    [
        ("ASYNC-2", (message("progress", 0), ACK)),
        ("ASYNC-2", (*LONG, message("progress", 4))),
        ("ASYNC-2", (*LONG, message("complete", 4))),
        ("ASYNC-2", (ACK, message("acknowledgment", 1))),
        ("ASYNC-2", (ACK, message("response", 0))),
        ("MSG-4", (ACK, message("progress", 2))),
        ("MSG-4", (ACK, message("progress", 1), message("progress", 1, percentage=60))),
        ("MSG-4", (ACK, message("error", 0))),
        ("MSG-4", (message("response", 1),)),
        ("MSG-4", (message("response", -1),)),
        ("MSG-4", (message("response", True),)),
        ("MSG-4", (ACK, message("progress"))),
        ("MSG-4", (error("DUPLICATE_REQUEST", 0),)),
        ("SYNC-1", (message("response", 0), message("response", 0, data=2))),
        ("PROG-1", (ACK, message("progress", 1, percentage=float("nan")))),
        ("PROG-1", (ACK, message("progress", 1, percentage=100.1))),
        ("PROG-1", (ACK, message("progress", 1, percentage=-0.5))),
        ("PROG-1", (ACK, message("progress", 1, percentage="50"))),
        ("PROG-1", (ACK, message("progress", 1, percentage=True))),
        ("PROG-1", (ACK, message("progress", 1), message("progress", 2, percentage=49))),
        (
            "PROG-1",
            (
                ACK,
                message("progress", 1, percentage=100),
                message("progress", 2, percentage=100, message="again"),
            ),
        ),
        ("MSG-3", ("text",)),
        ("MSG-3", (message("hello", 0),)),
        ("MSG-3", (message("response", 0, timestamp=NOW_MS / 1000),)),
        ("MSG-3", (message("response", 0, timestamp=NOW_MS // 1000),)),
        ("MSG-3", (message("response", 0, request_id=7),)),
        ("MSG-3", (message("response", 0, success=False),)),
        ("MSG-3", (ACK, message("complete", 1, success="yes"))),
        ("MSG-3", (ACK, message("complete", 1, result_url="u"))),
        ("ERR-1", (message("error", 0, error="no"),)),
        ("ERR-1", (message("error", 0, error={"code": "X"}),)),
        ("ERR-1", (message("error", 0, error={"code": "X", "message": "m"}),)),
        (
            "ERR-1",
            (
                message(
                    "error",
                    0,
                    error={
                        "code": "X",
                        "message": "m",
                        "retry": {"retryable": False, "after_ms": 5},
                    },
                ),
            ),
        ),
        ("CONN-5", (message("response", 0, request_id="other"),)),
    ],
)
def test_broken_histories_name_the_rule(rule, messages) -> None:
    """Each fault is found, under the rule that it breaks."""
    assert rule in judged(*messages)


def test_broadcasts_belong_to_no_request() -> None:
    """A broadcast is asked for by nobody on this connection, and has neither id nor number."""
    good = {"type": "broadcast", "broadcast_id": "b", "timestamp": NOW_MS, "payload": 1}
    good["from"] = {"user_id": "u"}
    assert judged(good) == []
    assert judged({**good, "sequence": 1}) == ["MSG-4"]
    assert judged({**good, "from": {}}) == ["MSG-3"]
    assert judged({**good, "broadcast_id": None}) == ["MSG-3"]


def test_a_refused_request_may_be_sent_again() -> None:
    """A refusal does not use up the id, and a short request's id may come again."""
    assert judged(error("VALIDATION_ERROR", 0), *LONG, sends=2) == []
    assert judged(message("response", 0), message("response", 0, data=2), sends=2) == []
    assert judged(*LONG, error("VALIDATION_ERROR", 0), sends=2) == []


def test_messages_without_a_readable_id_get_one_name_each() -> None:
    """The server names what came without an id; it may do so once for each."""
    checker = HistoryChecker()
    checker.sent("c", None)
    nameless = {k: v for k, v in error("VALIDATION_ERROR").items() if k != "request_id"}
    checker.observe("c", nameless, 0.0)
    checker.observe("c", message("response", 0, request_id="s-1"), 0.0)
    assert checker.violations == []
    checker.observe("c", message("response", 0, request_id="s-2"), 0.0)
    checker.observe("c", nameless, 0.0)
    assert [violation.rule for violation in checker.violations] == ["CONN-5", "CONN-5"]
    numbered = {**nameless, "sequence": 0}
    checker.observe("c", numbered, 0.0)
    assert checker.violations[-2].rule == "MSG-4"


def test_a_subscriber_joins_in_the_middle() -> None:
    """From the first number seen there is no gap, and the contents are those of the sender's."""
    checker = HistoryChecker()
    for name in ("own", "follower"):
        checker.opened(name, user="u")
    checker.sent("own", "r")
    checker.sent("follower", "s", subscribes_to="r")
    for item in LONG:
        checker.observe("own", item, 0.0)
    checker.observe("follower", message("response", 0, request_id="s"), 0.0)
    checker.observe("follower", LONG[2], 0.0)
    checker.observe("follower", LONG[3], 0.0)
    assert checker.finish() == []
    checker.observe("follower", message("complete", 3, result=2), 0.0)
    assert [violation.rule for violation in checker.violations] == ["MSG-4"]


def test_equal_ids_of_one_user_share_their_numbers() -> None:
    """Two connections of a user see one content per number; those of two users need not."""
    for users, broken in ((("u", "u"), 1), (("u", "v"), 0)):
        checker = HistoryChecker()
        for name, user in zip("ab", users, strict=True):
            checker.opened(name, user=user)
            checker.sent(name, "r")
            checker.observe(name, message("acknowledgment", 0, status=name), 0.0)
        assert len(checker.violations) == broken


def test_what_never_comes_is_missed_on_open_connections() -> None:
    """After the drain an acknowledged request without an outcome is lost, unless nobody listens."""
    for closes, rules in ((False, ["ASYNC-1", "SYNC-1"]), (True, [])):
        checker = HistoryChecker()
        checker.sent("c", "r")
        checker.sent("c", "never")
        checker.observe("c", ACK, 0.0)
        assert checker.unfinished("c") == ["r", "never"]
        assert checker.unfinished("nobody") == []
        if closes:
            checker.closed("c")
            checker.closed("nobody")
        assert [violation.rule for violation in checker.finish()] == rules


def test_violations_are_bounded_and_counted() -> None:
    """A wholly wrong target fills no memory; the count goes on."""
    checker = HistoryChecker(violations_max=3)
    for number in range(10):
        checker.observe("c", "nonsense", float(number))
    assert len(checker.violations) == 3
    assert checker.violation_count == checker.message_count == 10
    assert "MSG-3 on c" in str(checker.violations[0])


def test_repeats_are_counted_and_dropped() -> None:
    """A message that comes again unchanged is no fault, late or not."""
    checker = HistoryChecker()
    checker.sent("c", "r")
    for item in (*LONG, *LONG[1:]):
        checker.observe("c", item, 0.0, text=str(item))
    assert checker.finish() == []
    assert checker.repeat_count == 3
