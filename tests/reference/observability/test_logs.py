"""Log lines: one JSON object each."""

from __future__ import annotations

import json

from streamer_reference.observability import logs


def test_a_line_is_one_object(capsys, monkeypatch):
    """OBS-1: level, message, timestamp, service and function, and what the caller names."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "router")
    logs.log("warning", "two\nlines", request_id="r\ud800", tenant_id=None)
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    line = json.loads(output)
    assert line.pop("timestamp") > 1_600_000_000_000
    assert line == {
        "level": "WARNING",
        "message": "two\nlines",
        "service": "streamer",
        "function": "router",
        "request_id": "r\ud800",
    }


def test_levels_below_the_lowest_are_silent(capsys, monkeypatch):
    """`info` by default, and for a name nobody knows."""
    logs.log("debug", "unheard")
    assert capsys.readouterr().err == ""
    for name, lowest in (("error", 3), ("debug", 0), ("loud", 1)):
        monkeypatch.setenv("STREAMER_LOG_LEVEL", name)
        assert logs._level() == lowest
