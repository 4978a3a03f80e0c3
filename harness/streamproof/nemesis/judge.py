"""The judgment after the drain: what clients saw, what `status` says, and what had to come out.

Pure. The checker has judged every message by then; here each request is judged as a whole.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamproof.nemesis.clients import Track
from streamproof.nemesis.schedule import LEASE_S, Options


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """A promise that was not kept to one request."""

    rule: str
    request_id: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule} of {self.request_id}: {self.what}"


def judge(tracks: Iterable[Track]) -> list[Finding]:
    """Every promise that was not kept, one or more of a request."""
    return [
        Finding(rule, track.arrival.request_id, what)
        for track in tracks
        for rule, what in _faults(track)
    ]


def count(tracks: Iterable[Track]) -> Counter[str]:
    """How the requests ended; `sent` is the sum of the five that follow it."""
    counts: Counter[str] = Counter(
        dict.fromkeys(("sent", "completed", "failed", "refused", "never accepted", "lost"), 0)
    )
    for track in tracks:
        counts["sent"] += 1
        counts["acknowledged"] += track.acknowledged
        counts["second outcomes"] += max(0, len(track.outcomes) - 1)
        counts["PROCESSING_FAILED"] += any(_code(o) == "PROCESSING_FAILED" for o in track.outcomes)
        counts[_end(track)] += 1
    return counts


def doubts(
    options: Options,
    counts: Mapping[str, int],
    struck: Mapping[str, int],
    missed: Sequence[str],
    duration_s: float,
    within_s: float,
) -> list[str]:
    """Why a run without a violation shows nothing: what was asked for and did not happen."""
    found = list(missed)
    if options.kills + options.pauses and not struck.get("takeovers"):
        found.append("no request was taken over")
    if options.error_rate > 0:
        found += [
            f"no post was answered {status}"
            for status in (429, 500)
            if not struck.get(f"posts answered {status}")
        ]
    if struck.get("records delivered", 0) < options.duplicates * struck.get("records", 0):
        found.append("not every record was delivered as often as asked")
    if not counts.get("completed"):
        found.append("no request ended well")
    if duration_s > within_s:
        found.append(f"it took {duration_s:g} s, more than {within_s:g} s")
    return found


def _end(track: Track) -> str:
    if track.outcomes:
        return "completed" if track.outcomes[0]["type"] == "complete" else "failed"
    if track.refused:
        return "refused"
    return "never accepted" if _unaccepted(track) else "lost"


def _unaccepted(track: Track) -> bool:
    """Cut off on its way, not acknowledged, and unknown to the service before and after.

    A message that is longer under way than a healthy worker's lease was dropped, not cut off.
    """
    if track.acknowledged or track.known or track.cut_off_s is None:
        return False
    return track.cut_off_s - track.sent_s <= LEASE_S and _is_unknown(track.status)


def _is_unknown(status: dict[str, Any] | None) -> bool:
    return status is not None and status.get("code") == "NOT_FOUND"


def _code(message: dict[str, Any]) -> str | None:
    return message["error"].get("code") if message["type"] == "error" else None


def _faults(track: Track) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    if track.refused:  # there are no limits, and the store is healthy
        found.append(("ASYNC-1", f"refused with {track.refused}: nothing may be"))
    if not track.outcomes:
        if not track.refused and not _unaccepted(track):
            found.append(("ASYNC-1", f"no outcome came: lost; status says {track.status}"))
        return found
    if len(track.outcomes) > 1:
        found.append(("ASYNC-3", f"{len(track.outcomes)} different outcomes"))
    outcome = track.outcomes[0]
    found += _against_expected(track, outcome)
    if (fault := _against_status(outcome, track.status)) is not None:
        found.append(("RECOV-3", fault))
    return found


def _against_expected(track: Track, outcome: dict[str, Any]) -> list[tuple[str, str]]:
    arrival, code = track.arrival, _code(outcome)
    if code != arrival.code:
        return [("ASYNC-5", f"ended with {code or 'a result'}, not {arrival.code or 'a result'}")]
    if code is None and outcome.get("result") != arrival.result:
        return [("MSG-5", f"the result is {outcome.get('result')!r}, not {arrival.result!r}")]
    return []


def _against_status(outcome: dict[str, Any], status: dict[str, Any] | None) -> str | None:
    """What `status` says otherwise than the wire did."""
    if status is None:
        return "no answer to status"
    if outcome["type"] == "complete":
        agrees = status.get("status") == "COMPLETED" and status.get("result") == outcome["result"]
    else:
        agrees = status.get("status") == "FAILED" and status.get("error") == outcome["error"]
    return None if agrees else f"the wire said {outcome['type']}, status says {status}"
