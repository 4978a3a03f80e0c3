"""A history on disk holds what happened, no token, and can be judged again."""

from __future__ import annotations

import json

import pytest

from streamproof.errors import UsageError
from streamproof.history import Recorder, check, read

NOW_MS = 1_742_086_800_000
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"


def answer(data: object, **members: object) -> dict[str, object]:
    """A response."""
    made = {"type": "response", "request_id": "r", "sequence": 0, "timestamp": NOW_MS}
    return {**made, "success": True, "data": data, **members}


def record(path, *messages, footer: bool = True, closes: bool = False) -> None:
    """Record one request and what came for it."""
    recorder = Recorder.open(path, lambda: 1.0, run="x")
    with recorder:
        recorder.opened("c", "u")
        recorder.sent("c", json.dumps({"id": "r", "t": TOKEN}), "r", None)
        for message in messages:
            recorder.received("c", json.dumps(message), message)
        if closes:
            recorder.closed("c", 1000)
    if not footer:
        lines = path.read_text().splitlines()[:-1]
        path.write_text("\n".join(lines) + "\n")


def test_a_history_is_judged_again_from_disk(tmp_path) -> None:
    """What was right stays right, what was wrong is found."""
    path = tmp_path / "h.ndjson"
    record(path, answer({"a": 1}))
    assert check(read(path)) == []
    record(path, answer({"a": 1}), answer({"a": 2}))
    assert [violation.rule for violation in check(read(path))] == ["SYNC-1"]
    record(path, {"type": "nonsense"})
    assert "MSG-3" in [violation.rule for violation in check(read(path))]


def test_without_a_footer_nothing_is_missed(tmp_path) -> None:
    """A run that did not end may have got its answers later."""
    path = tmp_path / "h.ndjson"
    record(path)
    assert [violation.rule for violation in check(read(path))] == ["SYNC-1"]
    record(path, footer=False)
    assert check(read(path)) == []
    record(path, closes=True)
    assert check(read(path)) == []


def test_tokens_are_never_written(tmp_path) -> None:
    """What looks like a token is replaced, in what was sent and what came back."""
    path = tmp_path / "h.ndjson"
    record(path, answer({"leak": TOKEN}))
    text = path.read_text()
    assert "eyJ" not in text
    assert text.count("<token>") == 2


def test_signed_urls_are_not_kept(tmp_path) -> None:
    """What signs a URL is replaced, also where the URL stands inside another; the rest stays."""
    path = tmp_path / "h.ndjson"
    url = "http://h/k?X-Amz-Credential=AK%2F1&X-Amz-Expires=9&X-Amz-Signature=beef"
    nested = "http://h/?u=h%3FX-Amz-Security-Token%3Dhush%26x"
    record(path, answer({"url": url, "nested": nested}))
    text = path.read_text()
    for secret in ("AK%2F1", "beef", "hush"):
        assert secret not in text
    assert "X-Amz-Expires=9" in text
    failed = answer({}, type="error", error={"code": "X", "message": TOKEN}, more="x" * 9000)
    record(path, failed)
    assert "eyJ" not in path.read_text()


def test_two_contents_differ_in_what_is_not_kept(tmp_path) -> None:
    """A number with two signatures has two contents, in a recorded history too."""
    path = tmp_path / "h.ndjson"
    sent = {"type": "acknowledgment", "request_id": "r", "sequence": 0, "timestamp": NOW_MS}
    record(path, *({**sent, "message": f"X-Amz-Signature={n}"} for n in (1, 2)), footer=False)
    assert [violation.rule for violation in check(read(path))] == ["MSG-4"]


def test_a_history_is_its_owners_alone(tmp_path) -> None:
    """Nobody else reads it, also where an older file is written over."""
    path = tmp_path / "h.ndjson"
    path.write_text("old")
    path.chmod(0o644)
    record(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_large_bodies_are_cut_and_still_judged(tmp_path) -> None:
    """Of a long message the checker's part is kept, and two contents still differ."""
    path = tmp_path / "h.ndjson"
    large = answer({"a": "x" * 10_000})
    record(path, large)
    assert len(path.read_text()) < 3000
    assert check(read(path)) == []
    long = [
        {"type": "acknowledgment", "request_id": "r", "sequence": 0, "timestamp": NOW_MS, "m": m}
        for m in ("x" * 9000, "x" * 9000, "y" * 9000)
    ]
    record(path, *long)
    rules = [violation.rule for violation in check(read(path))]
    assert rules == ["MSG-4", "ASYNC-1"]


def test_text_that_is_no_json_is_a_violation(tmp_path) -> None:
    """An unreadable message breaks MSG-3 live and from disk."""
    path = tmp_path / "h.ndjson"
    with Recorder.open(path, lambda: 1.0) as recorder:
        recorder.opened("c", "u")
        recorder.received("c", "{oops", None)
        recorder.received("c", "{oops" * 2000, None)
    assert [violation.rule for violation in check(read(path))] == ["MSG-3", "MSG-3"]


def test_nowhere_is_a_place_to_record() -> None:
    """Without a path events are counted and kept nowhere."""
    with Recorder.open(None, lambda: 0.0) as recorder:
        recorder.closed("c", None)
    assert recorder.event_count == 1


def test_an_error_leaves_no_footer(tmp_path) -> None:
    """A run that broke is unknown, not whole."""
    path = tmp_path / "h.ndjson"
    with pytest.raises(ZeroDivisionError), Recorder.open(path, lambda: 0.0):
        raise ZeroDivisionError
    assert [event["kind"] for event in read(path)] == ["header"]


@pytest.mark.parametrize("text", ["", "[]\n", '{"kind": "header"}\n', "not json\n"])
def test_other_files_are_no_histories(tmp_path, text) -> None:
    """A file that is not ours is refused with its name."""
    path = tmp_path / "h.ndjson"
    path.write_text(text)
    if text:
        with pytest.raises(UsageError, match=r"h\.ndjson"):
            list(read(path))
    with pytest.raises(UsageError, match="cannot read"):
        list(read(tmp_path / "none"))
    with pytest.raises(UsageError, match="cannot write"):
        Recorder.open(tmp_path, lambda: 0.0)
