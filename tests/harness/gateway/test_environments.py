"""Functions in processes behind the Runtime API, run by awslambdaric and by a bare one (GW-12)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from streamproof.gateway import Function, FunctionError, ManualClock, ThrottledError
from streamproof.gateway.errors import IntegrationTimeoutError
from streamproof.gateway.processes import how_it_ended, read_lines
from support.gateway_host import Notes, running, turns, until

HANDLER = """
    import json, os, signal, sys, time

    def handler(event, context):
        what = event.get("do")
        if what == "fail":
            raise KeyError("no")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "exit":
            sys.exit(3)
        if what == "hang":
            open(event["file"], "w").close()
            time.sleep(600)
        if what == "print":
            metric = {"Namespace": "N", "Dimensions": [["d"]], "Metrics": [{"Name": "m"}]}
            print(json.dumps({"_aws": {"CloudWatchMetrics": [metric]}, "m": [1, 2], "d": "x"}))
            print("plain")
            sys.stdout.flush()
        return {
            "pid": os.getpid(),
            "request_id": context.aws_request_id,
            "left_ms": context.get_remaining_time_in_millis(),
            "variables": dict(os.environ),
        }
"""


@pytest.fixture
def hosted(tmp_path):
    """Make a function of the handler above under awslambdaric."""
    (tmp_path / "hosted_handler.py").write_text(textwrap.dedent(HANDLER))

    def make(handler="hosted_handler.handler", **fields):
        command = (sys.executable, "-m", "awslambdaric", handler)
        environment = {"PYTHONPATH": str(tmp_path), "OWN": "yes"}
        return Function("hosted", command=command, environment=environment, **fields)

    return make


def script(tmp_path, body):
    """A function whose process is a script that speaks the Runtime API by itself."""
    path = tmp_path / "runtime.py"
    path.write_text(
        textwrap.dedent(
            """
            import http.client, json, os, sys
            api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
            root = "/2018-06-01/runtime/"
            def call(method, path, body=None, headers={}):
                api.request(method, root + path, body, headers)
                answer = api.getresponse()
                return answer.status, dict(answer.getheaders()), answer.read()
            """
        )
        + textwrap.dedent(body)
    )
    return Function("hosted", command=(sys.executable, str(path)), timeout_s=60)


async def test_a_process_is_started_when_asked_reused_and_ended(hosted):
    """One process serves one invocation after the other, and is gone after the stop."""
    async with running(hosted(timeout_s=60)) as stage:
        assert stage.gateway.process_ids() == {"hosted": []}
        first = await stage.gateway.invoke("hosted", {})
        second = await stage.gateway.invoke("hosted", {})
        assert first["pid"] == second["pid"]
        assert first["request_id"] != second["request_id"]
        assert 0 < first["left_ms"] <= 60_000
        assert stage.gateway.process_ids() == {"hosted": [first["pid"]]}
        variables = first["variables"]
        assert variables["OWN"] == "yes"
        assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "hosted"
        assert variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "512"
        assert variables["AWS_REGION"] == "us-east-1"
        assert variables["AWS_ACCESS_KEY_ID"] == "AKIDEXAMPLE"
        assert variables["AWS_LAMBDA_LOG_STREAM_NAME"].startswith("[$LATEST]")
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)


async def test_a_function_error_comes_back_and_the_process_stays(hosted):
    """An exception is told with its type and trace, and costs no process."""
    async with running(hosted()) as stage:
        first = await stage.gateway.invoke("hosted", {})
        with pytest.raises(FunctionError) as raised:
            await stage.gateway.invoke("hosted", {"do": "fail"})
        assert raised.value.error_type == "KeyError"
        assert raised.value.payload()["stackTrace"]
        assert (await stage.gateway.invoke("hosted", {}))["pid"] == first["pid"]


@pytest.mark.parametrize(("how", "message"), [("die", "signal: killed"), ("exit", "exit status")])
async def test_a_process_that_dies_fails_its_invocation_at_once(hosted, how, message):
    """The failure document says how it ended, and another process takes its place."""
    failures = Notes()
    async with running(
        hosted(warm=1, on_failure="failed"), Function("failed", run=failures)
    ) as stage:
        first = await stage.gateway.invoke("hosted", {})
        stage.gateway.invoke_async("hosted", {"do": how})
        document = await failures.next()
        assert document["requestPayload"] == {"do": how}
        assert document["responsePayload"]["errorType"] in ("Runtime.ExitError", "SystemExit")
        if how == "die":
            assert message in document["responsePayload"]["errorMessage"]
        assert (await stage.gateway.invoke("hosted", {}))["pid"] != first["pid"]


async def test_a_time_limit_kills_the_process(hosted, tmp_path):
    """The caller is told and the process is gone; the next invocation gets another."""
    clock, file = ManualClock(), tmp_path / "began"
    async with running(hosted(timeout_s=5, warm=1), clock=clock) as stage:
        first = await stage.gateway.invoke("hosted", {})
        event = {"do": "hang", "file": str(file)}
        call = asyncio.ensure_future(stage.gateway.invoke("hosted", event))
        await until(file.exists)
        clock.advance(5)
        with pytest.raises(FunctionError, match=r"timed out after 5\.00 seconds"):
            await call
        assert (await stage.gateway.invoke("hosted", {}))["pid"] != first["pid"]


async def test_busy_environments_start_others_up_to_the_most(hosted, tmp_path):
    """Parallel invocations run in parallel processes; beyond, sync is throttled and async waits."""
    files = [tmp_path / name for name in "ab"]
    async with running(hosted(environments_max=2)) as stage:
        for file in files:
            stage.gateway.invoke_async("hosted", {"do": "hang", "file": str(file)})
        await until(lambda: all(file.exists() for file in files))
        first, second = stage.gateway.process_ids()["hosted"]
        with pytest.raises(ThrottledError):
            await stage.gateway.invoke("hosted", {})
        waiting = tmp_path / "c"
        stage.gateway.invoke_async("hosted", {"do": "hang", "file": str(waiting)})
        os.kill(first, signal.SIGKILL)
        await until(waiting.exists)
        assert second in stage.gateway.process_ids()["hosted"]
        for process_id in stage.gateway.process_ids()["hosted"]:
            os.kill(process_id, signal.SIGKILL)


async def test_warm_environments_are_there_before_anybody_asks(hosted):
    """What is kept warm is started at the start and again when it dies."""
    async with running(hosted(environments_max=3, warm=2)) as stage:
        pids = stage.gateway.process_ids
        await until(lambda: len(pids()["hosted"]) == 2)
        await asyncio.gather(*(stage.gateway.invoke("hosted", {}) for _ in range(2)))
        before = pids()["hosted"]
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: before[0] not in pids()["hosted"] and len(pids()["hosted"]) >= 2)


async def test_metrics_in_the_output_are_counted_and_lines_shown(hosted, capsys):
    """Embedded metrics become counters; the lines go to standard error when asked for."""
    async with running(hosted(), verbose=True) as stage:
        await stage.gateway.invoke("hosted", {"do": "print"})
        await until(lambda: stage.gateway.metrics.totals() == {"m": 3.0})
        shown = ""
        while "hosted: plain\n" not in shown:
            await turns(1)
            shown += capsys.readouterr().err


@pytest.mark.parametrize(
    ("function", "error_type"),
    [
        (Function("hosted", command=("/no/such/program",)), "Runtime.InvalidEntrypoint"),
        (Function("hosted", command=("/bin/sh", "-c", "exit 7")), "Runtime.ExitError"),
    ],
)
async def test_a_function_that_does_not_start_fails_and_is_started_again_later(
    function, error_type, caplog
):
    """Each start that fails ends one invocation; the next start waits a little longer."""
    clock = ManualClock()
    async with running(function, clock=clock) as stage:
        calls = [asyncio.ensure_future(stage.gateway.invoke("hosted", {}))]
        for pause_s in (0.1, 0.2):
            with pytest.raises(FunctionError) as raised:
                await calls.pop()
            assert raised.value.error_type == error_type
            calls.append(asyncio.ensure_future(stage.gateway.invoke("hosted", {})))
            await turns()
            assert not calls[0].done()
            clock.advance(pause_s)
        with pytest.raises(FunctionError):
            await calls.pop()
    assert "did not start" in caplog.text


async def test_a_handler_that_cannot_be_loaded_says_why(hosted):
    """The runtime's init error is the invocation's error."""
    async with running(hosted("no_such_module.handler")) as stage:
        with pytest.raises(FunctionError, match="no_such_module") as raised:
            await stage.gateway.invoke("hosted", {})
        assert raised.value.error_type == "Runtime.ImportModuleError"


async def test_the_runtime_api_refuses_what_is_none_of_its_own(tmp_path):
    """Wrong ids, wrong paths, answers that are no JSON, a poll without an answer."""
    function = script(
        tmp_path,
        """
        seen = []
        _, headers, body = call("GET", "invocation/next")
        event = json.loads(body)
        own = "invocation/" + headers["Lambda-Runtime-Aws-Request-Id"]
        seen.append(call("GET", "nothing")[0])
        seen.append(call("POST", "invocation/other/response", "{}")[0])
        seen.append(call("POST", "invocation/other/error", "{}")[0])
        seen.append(call("POST", own + "/what", "{}")[0])
        answer = json.dumps({"seen": seen, "headers": headers})
        seen.append(call("POST", own + "/response", answer, {"Expect": "100-continue"})[0])
        _, headers, body = call("GET", "invocation/next")
        call("POST", f"invocation/{headers['Lambda-Runtime-Aws-Request-Id']}/response", "{nonsense")
        _, headers, body = call("GET", "invocation/next")
        call("POST", f"invocation/{headers['Lambda-Runtime-Aws-Request-Id']}/error", "nonsense")
        _, headers, body = call("GET", "invocation/next")
        call("POST", f"invocation/{headers['Lambda-Runtime-Aws-Request-Id']}/response")
        call("GET", "invocation/next")
        call("GET", "invocation/next")
        """,
    )
    async with running(function) as stage:
        answer = await stage.gateway.invoke("hosted", {"x": "é"})
        assert answer["seen"] == [404, 400, 400, 404]
        assert answer["headers"]["Lambda-Runtime-Invoked-Function-Arn"].endswith(":hosted")
        assert answer["headers"]["Lambda-Runtime-Trace-Id"].startswith("Root=1-")
        with pytest.raises(FunctionError, match="no JSON"):
            await stage.gateway.invoke("hosted", {})
        with pytest.raises(FunctionError, match="Unknown"):
            await stage.gateway.invoke("hosted", {})
        assert await stage.gateway.invoke("hosted", {}) is None
        with pytest.raises(FunctionError, match="no answer"):
            await stage.gateway.invoke("hosted", {})


async def test_a_process_that_speaks_no_http_is_told(tmp_path):
    """A bad request on the Runtime API is answered and the connection closed."""
    function = script(
        tmp_path,
        """
        import socket
        host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
        raw = socket.create_connection((host, int(port)))
        raw.sendall(b"nonsense\\r\\n\\r\\n")
        told = raw.makefile("rb").read().decode()
        _, headers, _ = call("GET", "invocation/next")
        own = "invocation/" + headers["Lambda-Runtime-Aws-Request-Id"]
        call("POST", own + "/response", json.dumps(told))
        call("GET", "invocation/next")
        """,
    )
    async with running(function) as stage:
        assert (await stage.gateway.invoke("hosted", {})).startswith("HTTP/1.1 400")


async def test_an_invocation_that_nobody_waits_for_is_not_handed_over(hosted, tmp_path):
    """A caller that gave up while it waited costs no run."""
    file = tmp_path / "began"
    async with running(hosted(), api={"routes": {"$default": "hosted"}}) as stage:
        call = asyncio.ensure_future(stage.gateway.invoke("hosted", {"do": "die"}))
        await turns()
        call.cancel()
        await asyncio.wait([call])
        assert await stage.gateway.invoke("hosted", {"do": "print"})
        assert not file.exists()


async def test_the_integrations_limit_does_not_kill_the_process(hosted, tmp_path):
    """API Gateway stops waiting after 29 seconds; the function goes on."""
    clock, file = ManualClock(), tmp_path / "began"
    async with (
        running(
            hosted(timeout_s=900), clock=clock, api={"routes": {"$default": "hosted"}}
        ) as stage,
        stage.connect() as client,
    ):
        # A message's event cannot say what to do, so the route's function is called as a route is.
        invoke = stage.gateway._functions.invoke
        process_id = (await invoke("hosted", {}))["pid"]
        event = {"do": "hang", "file": str(file)}
        call = asyncio.ensure_future(invoke("hosted", event, limit_s=29))
        await until(file.exists)
        clock.advance(29)
        with pytest.raises(IntegrationTimeoutError):
            await call
        assert stage.gateway.process_ids()["hosted"] == [process_id]
        os.kill(process_id, signal.SIGKILL)
        await client.close()


async def test_lines_are_bounded():
    """A line without an end is cut into pieces."""
    stream, lines = asyncio.StreamReader(), []
    stream.feed_data(b"one\r\ntwo\n" + b"x" * 300_000)
    stream.feed_data(b"\nlast")
    stream.feed_eof()
    await read_lines(stream, lines.append)
    assert lines[:2] == ["one", "two"]
    assert sum(map(len, lines[2:-1])) == 300_000
    assert max(map(len, lines)) <= 330_000
    assert lines[-1] == "last"


def test_the_end_of_a_process_is_said_as_lambda_says_it():
    """Signals and statuses."""
    assert how_it_ended(1) == "exit status 1"
    assert how_it_ended(-9) == "signal: killed"
    assert how_it_ended(-15) == "signal: terminated"


async def test_processes_end_with_a_gateway_that_is_killed(tmp_path, hosted):
    """Also after kill -9 of the gateway, the kernel ends what it started."""
    function = hosted(warm=1)
    program = textwrap.dedent(
        f"""
        import asyncio, sys
        from streamproof.gateway import *
        async def main():
            function = Function("hosted", command={function.command!r},
                environment={dict(function.environment)!r}, warm=1)
            gateway = Gateway(Description(Api({{}}), (function,), Credentials("a", "b")))
            await gateway.start()
            answer = await gateway.invoke("hosted", {{}})
            print(answer["pid"], flush=True)
            await asyncio.Event().wait()
        asyncio.run(main())
        """
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    child = int(await process.stdout.readline())
    process.kill()
    await process.wait()

    def is_gone():
        try:
            return Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"
        except OSError:
            return True

    await until(is_gone)
    process._transport.close()
