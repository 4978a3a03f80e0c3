"""Stopping: what runs is let finish, connections get 1001, processes end (GW-8)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys

import pytest
from websockets.exceptions import ConnectionClosed

from streamproof.gateway import Function, FunctionError, ThrottledError
from streamproof.gateway import server as server_module
from streamproof.gateway.tasks import Tasks
from support.gateway_host import Notes, running, turns


async def test_what_runs_finishes_then_connections_close_with_1001():
    """A message's answer still goes out, then the close, then $disconnect once for each."""
    let = asyncio.Event()

    async def answer(event):
        await let.wait()
        return {"statusCode": 200, "body": "done"}

    async with running(
        api={"two_way": frozenset({"$default"})}, answers={"default": answer}
    ) as stage:
        async with stage.connect() as busy, stage.connect() as idle:
            await busy.send("x")
            await stage.messages.next()
            stopping = asyncio.ensure_future(stage.gateway.stop())
            await turns()
            await idle.send("too late")
            await turns()
            assert stage.messages.events.empty()
            let.set()
            assert await busy.recv() == "done"
            for client in (busy, idle):
                with pytest.raises(ConnectionClosed):
                    await client.recv()
                assert (client.close_code, client.close_reason) == (1001, "Going away")
            await stopping
        for _ in range(2):
            context = (await stage.disconnects.next())["requestContext"]
            assert context["disconnectStatusCode"] == 1001
        assert stage.disconnects.events.empty()
        with pytest.raises(ThrottledError):
            stage.gateway.invoke_async("default", {})
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            async with stage.connect():
                pass
        await stage.gateway.stop()


async def test_new_connections_are_refused_while_it_stops():
    """A handshake during the stop is 503; posts go on."""
    let = asyncio.Event()

    async def answer(_event):
        await let.wait()
        return {"statusCode": 200}

    async with (
        running(answers={"default": answer}) as stage,
        stage.connected() as (client, connection_id),
    ):
        await client.send("x")
        await stage.messages.next()
        stopping = asyncio.ensure_future(stage.gateway.stop())
        await turns()
        with pytest.raises(Exception, match="503"):
            async with stage.connect():
                pass
        assert await stage.post(connection_id, b"still here") == 200
        assert await client.recv() == "still here"
        let.set()
        await stopping


async def test_what_hangs_is_ended(monkeypatch):
    """A message that never ends, a client that never answers, a $disconnect that hangs."""
    monkeypatch.setattr(server_module, "_CLOSE_S", 0.05)

    async def hang(_event):
        await asyncio.Event().wait()

    async with (
        running(answers={"default": hang, "disconnect": hang}) as stage,
        stage.connect() as client,
    ):
        await client.send("x")
        await stage.messages.next()
        client.transport.pause_reading()
        await stage.gateway.stop(0.05)
        assert len(stage.disconnects.events._queue) == 1
        client.transport.abort()


async def test_a_disconnect_function_that_fails_is_logged(caplog):
    """It disturbs nobody."""

    def fail(_event):
        raise KeyError("no")

    async with running(answers={"disconnect": fail}) as stage:
        async with stage.connect():
            pass
        await stage.disconnects.next()
        await turns()
    assert "$disconnect failed" in caplog.text


async def test_asynchronous_invocations_that_wait_are_let_go(tmp_path):
    """What has no process yet is handed back, without a failure document."""
    failures = Notes()
    hosted = Function("hosted", command=("/bin/sh", "-c", "exec cat /dev/zero"), on_failure="f")
    async with running(hosted, Function("f", run=failures)) as stage:
        stage.gateway.invoke_async("hosted", {})
        await turns()
        await stage.gateway.stop(0.05)
    assert failures.events.empty()


async def test_a_task_that_takes_no_notice_is_left_behind():
    """Cancelled, it goes on all the same; the stop does not wait for it."""
    let = asyncio.Event()

    async def ignore():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await let.wait()

    tasks = Tasks()
    task = tasks.start(ignore())
    await turns()
    await asyncio.wait_for(tasks.cancel(), 5)
    assert not task.done()
    let.set()
    await task


DRAINS = """
import http.client, os, signal, sys
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
root = "/2018-06-01/runtime/invocation/"
api.request("GET", root + "next")
event = api.getresponse()
event.read()
def told(*_):
    path = root + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/response"
    api.request("POST", path, '"finished"')
    api.getresponse().read()
    sys.exit()
if sys.argv[1] == "told":
    signal.signal(signal.SIGTERM, told)
elif sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("paused", [False, True])
async def test_a_process_that_drains_is_told_at_once_and_finishes(paused):
    """SIGTERM with the stop, not after its bound; a process that somebody stopped hears it too."""
    command = (sys.executable, "-c", DRAINS, "told")
    up = asyncio.Event()
    function = Function("hosted", command=command, timeout_s=60, drains=True)
    async with running(function, on_line=lambda *_: up.set()) as stage:
        answer = asyncio.ensure_future(stage.gateway.invoke("hosted", {}))
        await asyncio.wait_for(up.wait(), 10)
        (pid,) = stage.gateway.process_ids()["hosted"]
        if paused:
            os.kill(pid, signal.SIGSTOP)
        stage.gateway._functions.stopping()
        assert await asyncio.wait_for(answer, 10) == "finished"


@pytest.mark.parametrize("how", ["told", "deaf", "default"])
async def test_what_does_not_drain_has_the_whole_time_and_sigterm_at_its_end(how):
    """Then it may still answer for a moment; what ignores that, too, is killed."""
    command = (sys.executable, "-c", DRAINS, how)
    up = asyncio.Event()
    function = Function("hosted", command=command, timeout_s=60)
    async with running(function, on_line=lambda *_: up.set()) as stage:
        answer = asyncio.ensure_future(stage.gateway.invoke("hosted", {}))
        await asyncio.wait_for(up.wait(), 10)
        (pid,) = stage.gateway.process_ids()["hosted"]
        stage.gateway._functions.stopping()
        await turns()
        assert not answer.done()
        await asyncio.wait_for(stage.gateway.stop(0.05), 10)
        if how == "told":
            assert await answer == "finished"
        else:
            with pytest.raises(FunctionError, match="killed" if how == "deaf" else "terminated"):
                await answer
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_it_runs_on_uvloop_too():
    """The loop that serves: a message, a post, a process, a stop."""
    program = """
import asyncio, uvloop
from support.gateway_host import running, Notes
from streamproof.gateway import Function
import sys
command = (sys.executable, "-m", "awslambdaric", "json.loads_missing")
async def main():
    async def answer(event):
        status = await stages[0].post(event["requestContext"]["connectionId"], b"posted")
        return {"statusCode": status}
    stages = []
    async with running(Function("p", command=command), answers={"default": answer}) as stage:
        stages.append(stage)
        async with stage.connect() as client:
            await client.send("x")
            print(await client.recv())
            try:
                await stage.gateway.invoke("p", {})
            except Exception as error:
                print(type(error).__name__)
uvloop.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    output, _ = await process.communicate()
    assert output.decode().split() == ["posted", "FunctionError"]
    assert process.returncode == 0
