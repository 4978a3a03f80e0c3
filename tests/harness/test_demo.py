"""The demo's scenes, against a server that plays the stack."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import types

import pytest
from rich.console import Console
from websockets.asyncio.server import serve

from streamproof import cli, demo, targets
from streamproof.errors import HarnessError, TargetUnreachableError


def message(kind: str, request_id: str, sequence: int, **members) -> str:
    """A server's message."""
    return json.dumps({"type": kind, "request_id": request_id, "sequence": sequence, **members})


class Stack:
    """Answers as the reference would, unless `broken` names an action that goes wrong."""

    def __init__(self) -> None:
        self.broken = ""
        self.silent = ""
        self.actions: list[str] = []
        self.metrics: object = {"MessageSent": 18.0, "LeaseExpired": 1.0}

    def page(self, connection, request):
        """The metrics, to plain HTTP."""
        if request.path != "/metrics":
            return None
        return connection.respond(200, json.dumps(self.metrics))

    async def serve(self, socket) -> None:
        """One connection."""
        async for text in socket:
            request = json.loads(text)
            self.actions.append(request["action"])
            for answer in self.answers(request):
                await socket.send(answer)

    def answers(self, request) -> list[str]:
        """What a request gets."""
        key, end = request["id"], request["payload"].get("end")
        if request["action"] == self.silent:
            return [json.dumps({"type": "broadcast"})]
        failure = {"code": "PROCESSING_FAILED", "message": "told to fail"}
        last = message("complete", key, 2, result={"records": 3, "url": "http://127.0.0.1/x"})
        if end == "fail" or self.broken in (request["action"], end):
            last = message("error", key, 2, error=failure)
        return [
            message("acknowledgment", key, 0, status="queued"),
            message("progress", key, 1, percentage=50.0, message="half way"),
            last,
        ]


@contextlib.asynccontextmanager
async def playing(stack: Stack):
    """The stack on a free port; yields its URL."""
    async with serve(stack.serve, "127.0.0.1", 0, process_request=stack.page) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/dev"


async def shown_by(stack: Stack) -> tuple[bool, str]:
    """Play against the stack; answers the verdict and what was printed."""
    file = io.StringIO()
    async with playing(stack) as url:
        verdict = await demo.play(url, "token", Console(file=file, width=200))
    return verdict, file.getvalue()


async def test_all_scenes_are_shown():
    """A report, three at once, a failure, a killed worker, and the counts."""
    stack = Stack()
    verdict, text = await shown_by(stack)
    assert verdict is True
    assert sorted(stack.actions) == ["echo_async"] * 3 + ["generate_report"] + ["probe.async"] * 2
    for part in (
        "1  A report that takes a while",
        "a year's report, pdf",
        "3 records",
        "http://127.0.0.1/x",
        "#1  progress        50 %  half way",
        "#2  error           PROCESSING_FAILED: told to fail",
        "requests sent                            6",
        "failed with PROCESSING_FAILED            1",
        "MessageSent                             18",
    ):
        assert part in text


@pytest.mark.parametrize("broken", ["generate_report", "echo_async", "crash"])
async def test_a_scene_that_ends_wrongly_is_noticed(broken):
    """The demo is no theatre: what should have completed and did not is told."""
    stack = Stack()
    stack.broken = broken
    verdict, _ = await shown_by(stack)
    assert verdict is False


async def test_a_killed_worker_that_no_metric_shows_is_noticed():
    """An operator must be able to see what the client saw."""
    stack = Stack()
    stack.metrics = {"MessageSent": 18.0}
    verdict, _ = await shown_by(stack)
    assert verdict is False


async def test_no_metrics_are_an_error():
    """A page that is no JSON ends the demo with the next step."""
    stack = Stack()
    stack.page = lambda connection, request: (
        connection.respond(200, "<html>") if request.path == "/metrics" else None
    )
    with pytest.raises(HarnessError, match="no metrics at http://127"):
        await shown_by(stack)


async def test_silence_is_an_error(monkeypatch):
    """A stack that stops answering ends the demo, with the next step."""
    monkeypatch.setattr(demo, "SCENE_TIMEOUT_S", 0.05)
    stack = Stack()
    stack.silent = "generate_report"
    with pytest.raises(HarnessError, match="generate_report did not end") as caught:
        await shown_by(stack)
    assert "streamproof verify" in caught.value.hint


async def test_nobody_there():
    """A port where nobody listens is told in one line."""
    async with playing(Stack()) as url:
        pass
    with pytest.raises(TargetUnreachableError, match="no connection to ws://"):
        await demo.play(url, "token", Console(file=io.StringIO()))


def test_lines_of_messages():
    """Each message shows its moment, its number and what matters in it."""
    assert demo.line({"type": "broadcast"}, 0.5) == "    0.50 s  #-  broadcast"
    assert demo.line({"type": "progress", "sequence": 1, "percentage": 5}, 12.0).endswith("5 %")


def test_gaps_are_seen():
    """Repeats are no gap, a missing number is."""
    assert demo.gapless([{"sequence": 0}, {"sequence": 1}, {"sequence": 1}])
    assert not demo.gapless([{"sequence": 0}, {"sequence": 2}])


class FakeTarget:
    """A target that was started elsewhere."""

    url = "ws://127.0.0.1:1/dev"

    def __init__(self, mint) -> None:
        self.mint = mint

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.mark.parametrize(("verdict", "code"), [(True, 0), (False, 1)])
def test_the_command_ends_with_the_scenes_verdict(monkeypatch, capsys, verdict, code):
    """The command starts a stack, plays, and says what to do next."""
    played = []

    async def play(url, token, console):
        await asyncio.sleep(0)
        played.append((url, token))
        return verdict

    mint = types.SimpleNamespace(mint=lambda identity: f"token of {identity.user}")
    monkeypatch.setattr(targets, "resolve", lambda name: FakeTarget(mint))
    monkeypatch.setattr(demo, "play", play)
    assert cli.main(["demo"]) == code
    assert played == [("ws://127.0.0.1:1/dev", "token of demo-user")]
    out, err = capsys.readouterr()
    assert ("streamproof verify" in out) is verdict
    assert ("did not end as it should" in err) is not verdict


def test_a_stack_without_a_key_is_a_fault(monkeypatch, capsys):
    """The embedded stack always names its key; without one nothing can be shown."""
    monkeypatch.setattr(targets, "resolve", lambda name: FakeTarget(None))
    assert cli.main(["demo"]) == 3
    assert "names no signing key" in capsys.readouterr().err
