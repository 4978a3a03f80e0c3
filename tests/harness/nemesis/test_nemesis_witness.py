"""The witness: what a reader needs of a long history."""

from __future__ import annotations

import itertools
from pathlib import Path

from streamproof.history import Recorder
from streamproof.nemesis.witness import LINES_MAX, witness


def test_a_witness_is_one_request_and_the_faults_around_it(tmp_path: Path) -> None:
    """Other requests, other connections and faults long before are left out."""
    path, moments = tmp_path / "history.ndjson", itertools.count()
    with Recorder.open(path, lambda: float(next(moments))) as recorder:
        recorder.fault("kill", "long before")
        for name in ("c2", "c1"):
            recorder.opened(name, "u")
        recorder.fault("kill", "just before")
        recorder.sent("c1", '{"id": "r"}', "r", None)
        recorder.sent("c1", '{"id": "r2"}', "r2", None)
        recorder.received("c1", '{"request_id": "r"}', None)
        recorder.closed("c2", 1000)
        recorder.closed("c1", 1000)
    lines = [line.split(" s  ")[1] for line in witness(path, "r")]
    assert [" ".join(line.split()) for line in lines] == [
        "c1 - open",
        "nemesis ! kill: just before",
        'c1 > {"id": "r"}',
        'c1 < {"request_id": "r"}',
        "c1 - close",
    ]
    assert witness(path, "nobody") == witness(path, "") == []


def test_the_middle_of_a_long_witness_is_left_out(tmp_path: Path) -> None:
    """Its beginning and its end are what counts."""
    path, moments = tmp_path / "history.ndjson", itertools.count()
    with Recorder.open(path, lambda: float(next(moments))) as recorder:
        for number in range(500):
            recorder.received("c", f'{{"request_id": "r", "n": {number}}}', None)
    lines = witness(path, "r")
    assert len(lines) == LINES_MAX + 1
    assert lines[LINES_MAX // 2] == f"... {500 - LINES_MAX} lines ..."
    assert '"n": 0' in lines[0]
    assert '"n": 499' in lines[-1]
