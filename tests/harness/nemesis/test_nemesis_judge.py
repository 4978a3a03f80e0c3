"""The judge over requests as clients saw them: right ones pass, each broken promise is named."""

from __future__ import annotations

from typing import Any

import pytest

from streamproof.nemesis.clients import Track
from streamproof.nemesis.judge import count, doubts, judge
from streamproof.nemesis.schedule import Arrival, Options

RESULT = {"value": 1}
COMPLETE = {"type": "complete", "request_id": "r", "sequence": 1, "result": RESULT}
ERROR = {"code": "NOT_FOUND", "message": "m"}
FAILED = {"type": "error", "request_id": "r", "sequence": 1, "error": ERROR}
GIVEN_UP = {**FAILED, "error": {"code": "PROCESSING_FAILED"}}
DONE = {"status": "COMPLETED", "result": RESULT}
UNKNOWN = {"code": "NOT_FOUND"}


def track(*outcomes: Any, status: Any = DONE, code: str | None = None, **members: Any) -> Track:
    """A request that was acknowledged, unless `members` say otherwise."""
    arrival = Arrival(0.0, 0, "r", {}, result=None if code else RESULT, code=code)
    return Track(arrival, **{"acknowledged": True, **members}, outcomes=[*outcomes], status=status)


def cut_off(*, after_s: float, **members: Any) -> Track:
    """A request whose connection ended before its acknowledgment, and that nobody knows."""
    unheard = {"acknowledged": False, "known": False, "sent_s": 1.0, "cut_off_s": 1.0 + after_s}
    return track(status=UNKNOWN, **{**unheard, **members})


def refused(*outcomes: Any, **members: Any) -> Track:
    """A request that the service did not want."""
    return track(*outcomes, acknowledged=False, refused="STORAGE_ERROR", **members)


FAILED_STATUS = {"status": "FAILED", "error": ERROR}


@pytest.mark.parametrize(
    ("seen", "end"),
    [
        (track(COMPLETE), "completed"),
        (track(COMPLETE, acknowledged=False), "completed"),  # its acknowledgment was cut off
        (track(FAILED, status=FAILED_STATUS, code="NOT_FOUND"), "failed"),
        (cut_off(after_s=0.2), "never accepted"),
    ],
)
def test_kept_promises(seen: Track, end: str) -> None:
    """Nothing is found, and the request is counted under its end."""
    assert judge([seen]) == []
    counts = count([seen])
    assert (counts["sent"], counts[end], counts["lost"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("seen", "rules"),
    [
        (track(status={"status": "PROCESSING"}), ["ASYNC-1"]),
        (track(status=UNKNOWN), ["ASYNC-1"]),
        (track(known=False, status=UNKNOWN), ["ASYNC-1"]),
        (track(acknowledged=False, known=False, status=DONE), ["ASYNC-1"]),
        (track(acknowledged=False, known=False, status=UNKNOWN), ["ASYNC-1"]),
        (cut_off(after_s=5.1), ["ASYNC-1"]),
        (cut_off(after_s=0.2, acknowledged=True), ["ASYNC-1"]),
        (refused(status=UNKNOWN), ["ASYNC-1"]),
        (refused(COMPLETE), ["ASYNC-1"]),
        (track(COMPLETE, FAILED), ["ASYNC-3"]),
        (track({**COMPLETE, "result": 2}, status={**DONE, "result": 2}), ["MSG-5"]),
        (track(GIVEN_UP, status={"status": "FAILED", "error": GIVEN_UP["error"]}), ["ASYNC-5"]),
        (track(COMPLETE, code="NOT_FOUND"), ["ASYNC-5"]),
        (track(COMPLETE, status=FAILED_STATUS), ["RECOV-3"]),
        (track(COMPLETE, status={**DONE, "result": 2}), ["RECOV-3"]),
        (track(COMPLETE, status=None), ["RECOV-3"]),
        (track(COMPLETE, status=UNKNOWN), ["RECOV-3"]),
        (track(FAILED, status=DONE, code="NOT_FOUND"), ["RECOV-3"]),
    ],
)
def test_broken_promises(seen: Track, rules: list[str]) -> None:
    """The rule is named, and the request."""
    found = judge([seen])
    assert [finding.rule for finding in found] == rules
    assert str(found[0]).startswith(f"{rules[0]} of r: ")


def test_the_counts_of_harm() -> None:
    """What the table shows: lost, second outcomes, given up."""
    counts = count([track(), track(COMPLETE, FAILED), track(GIVEN_UP)])
    harm = (counts["lost"], counts["second outcomes"], counts["PROCESSING_FAILED"])
    assert harm == (1, 1, 1)
    assert counts["acknowledged"] == 3


def test_a_service_that_refuses_all_but_one_request_does_not_hold() -> None:
    """Each refusal is a finding, and the table counts them."""
    tracks = [track(COMPLETE), *(refused(status=UNKNOWN) for _ in range(999))]
    assert len(judge(tracks)) == 999
    assert (count(tracks)["refused"], count(tracks)["completed"]) == (999, 1)


STRUCK = {
    "takeovers": 1,
    "posts answered 429": 1,
    "posts answered 500": 1,
    "records": 2,
    "records delivered": 4,
}


def doubted(struck: dict[str, int], *missed: str, completed: int = 1, took_s: float = 1.0) -> str:
    """The doubts about a run."""
    counts = {"completed": completed}
    return "; ".join(doubts(Options(), counts, STRUCK | struck, missed, took_s, within_s=9.0))


def test_a_run_in_which_everything_asked_for_happened_leaves_no_doubt() -> None:
    """So does one that asked for nothing."""
    nothing = Options(kills=0, pauses=0, error_rate=0.0, duplicates=1)
    assert doubted({}) == ""
    assert doubts(nothing, {"completed": 1}, {}, (), 1.0, 9.0) == []


@pytest.mark.parametrize(
    ("doubt", "words"),
    [
        (doubted({}, "a kill found nothing to strike"), "a kill found nothing to strike"),
        (doubted({"takeovers": 0}), "no request was taken over"),
        (doubted({"posts answered 429": 0}), "no post was answered 429"),
        (doubted({"posts answered 500": 0}), "no post was answered 500"),
        (doubted({"records delivered": 3}), "not every record was delivered as often as asked"),
        (doubted({}, completed=0), "no request ended well"),
        (doubted({}, took_s=9.5), "it took 9.5 s, more than 9 s"),
    ],
)
def test_what_did_not_happen_is_a_doubt(doubt: str, words: str) -> None:
    """One doubt, in words."""
    assert doubt == words
