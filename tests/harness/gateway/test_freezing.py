"""A process is stopped between its events, with what it started, and never outlives the gateway."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from streamproof.gateway import Function
from streamproof.gateway.processes import Guard, signal_group
from support.gateway_host import running, until

LEAVES_WORK_BEHIND = """
    import threading

    count = 0

    def work():
        global count
        while True:
            count += 1

    def handler(event, context):
        if event.get("start"):
            threading.Thread(target=work, daemon=True).start()
        if event.get("wait_for"):  # proves that the thread goes on while an event is under way
            while count <= event["wait_for"]:
                pass
        return count
"""

FORKS = """
    import http.client, os, subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    root = "/2018-06-01/runtime/invocation/"
    while True:
        api.request("GET", root + "next")
        event = api.getresponse()
        event.read()
        request_id = event.headers["Lambda-Runtime-Aws-Request-Id"]
        api.request("POST", root + request_id + "/response", str(child.pid))
        api.getresponse().read()
"""


def python(tmp_path: Path, body: str, *words: str, **fields) -> Function:
    """A function whose process runs `body`, saved as app.py."""
    (tmp_path / "app.py").write_text(textwrap.dedent(body))
    command = (sys.executable, *(words or ("app.py",)))
    return Function("hosted", command=command, directory=tmp_path, timeout_s=30, **fields)


def under_runtime(tmp_path: Path) -> Function:
    """The handler above, run by Lambda's own runtime client."""
    return python(tmp_path, LEAVES_WORK_BEHIND, "-m", "awslambdaric", "app.handler")


def state(pid: int) -> str:
    """The letter that the kernel shows for a process."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]


def processor_ticks(pid: int) -> list[str]:
    """The processor time that a process has used, in user and in system mode."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[11:13]


async def stopped(pid: int) -> None:
    """Wait until a child of ours is stopped with all its threads; the kernel says when."""
    seen = await asyncio.wait_for(
        asyncio.to_thread(os.waitid, os.P_PID, pid, os.WSTOPPED | os.WNOWAIT), 10
    )
    assert seen is not None
    assert seen.si_status == signal.SIGSTOP


async def test_work_left_behind_makes_no_progress_until_the_next_event(tmp_path):
    """A thread that counts stands still between events, and goes on with the next one."""
    async with running(under_runtime(tmp_path)) as stage:
        await stage.gateway.invoke("hosted", {"start": True})
        (pid,) = stage.gateway.process_ids()["hosted"]
        await stopped(pid)
        before = processor_ticks(pid)
        # A second process burns processor time meanwhile: a thread that ran would have had some.
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", "sum(range(10**6))"], check=True
        )
        assert processor_ticks(pid) == before
        assert state(pid) == "T"
        count = await stage.gateway.invoke("hosted", {})
        assert await stage.gateway.invoke("hosted", {"wait_for": count + 1000}) > count + 1000
        assert stage.gateway.process_ids()["hosted"] == [pid]


async def test_freezing_can_be_turned_off(tmp_path):
    """Work left behind then goes on between events, which Lambda would not let it."""
    async with running(under_runtime(tmp_path), freeze=False) as stage:
        count = await stage.gateway.invoke("hosted", {"start": True})
        (pid,) = stage.gateway.process_ids()["hosted"]
        assert await stage.gateway.invoke("hosted", {"wait_for": count + 1000}) > count
        assert state(pid) != "T"


async def test_what_a_process_started_is_stopped_and_ended_with_it(tmp_path):
    """The group is one: a child stops between events, and does not outlive its parent."""
    async with running(python(tmp_path, FORKS)) as stage:
        child = await stage.gateway.invoke("hosted", {})
        (pid,) = stage.gateway.process_ids()["hosted"]
        await stopped(pid)
        await until(lambda: state(child) == "T")
        watch = os.pidfd_open(child)
        os.kill(pid, signal.SIGKILL)  # the parent alone: nobody tells the child
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        assert await asyncio.to_thread(poll.poll, 10_000), "the child outlived its parent"
        os.close(watch)
        assert await stage.gateway.invoke("hosted", {}) != child, "another takes its place"


def test_a_guard_kills_what_is_stopped_when_the_one_who_watches_is_killed(tmp_path):
    """After kill -9 no process is left stopped for ever, wherever in the group it is."""
    watcher = textwrap.dedent("""
        import os, signal, subprocess, sys
        from streamproof.gateway.processes import Guard
        sleeper = "import signal; print('up', flush=True); signal.pause()"
        child = subprocess.Popen(
            [sys.executable, "-c", sleeper], stdout=subprocess.PIPE, start_new_session=True
        )
        child.stdout.readline()
        os.killpg(child.pid, signal.SIGSTOP)
        with Guard().watching(child.pid):
            print(child.pid, flush=True)
            signal.pause()
    """)
    process = subprocess.Popen([sys.executable, "-c", watcher], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        watch = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    assert poll.poll(10_000), "a stopped process outlived the one that watched it"
    os.close(watch)


@pytest.mark.parametrize("killed", [False, True])
def test_a_guard_forgets_what_has_ended(killed):
    """It ends with the block, kills nothing then, and may itself be killed without harm."""
    guard = Guard()
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True
    )
    with guard.watching(sleeper.pid):
        if killed:
            assert guard._process is not None
            guard._process.kill()
            guard._process.wait()
    guard.stop()
    guard.stop()
    assert sleeper.poll() is None
    signal_group(sleeper.pid, "SIGKILL")
    assert sleeper.wait() == -signal.SIGKILL
    signal_group(sleeper.pid, "SIGKILL")  # nobody is there any more
