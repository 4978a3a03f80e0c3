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
from streamproof.gateway.environments import POLL_AGAIN_S
from streamproof.gateway.errors import IntegrationTimeoutError
from streamproof.gateway.processes import how_it_ended, read_lines
from support.gateway_host import Notes, read_response, running, turns, until

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
        if what == "leave":
            os._exit(3)
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


async def test_a_process_is_started_when_asked_reused_and_ended(hosted, monkeypatch):
    """One process serves one invocation after the other, and is gone after the stop."""
    monkeypatch.setenv("AWS_EXECUTION_ENV", "CloudShell")
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
        assert "AWS_EXECUTION_ENV" not in variables, "this machine's, or nobody's"
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


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"do": "leave"}, "Runtime exited with error: exit status 3"),
        ({"do": "hang"}, "Task timed out after 3.00 seconds; a higher timeout_s gives it longer"),
    ],
)
async def test_a_function_that_dies_or_is_late_has_a_line_in_its_log(hosted, tmp_path, event, told):
    """As in CloudWatch, with the request's id, once."""
    lines, clock, hangs = [], ManualClock(), tmp_path / "hangs"
    function = hosted(timeout_s=3)
    async with running(function, clock=clock, on_line=lambda *line: lines.append(line)) as stage:
        request_id = stage.gateway.invoke_async("hosted", {**event, "file": str(hangs)})
        await until(lambda: lines or hangs.exists())
        clock.advance(3)
        await until(lambda: lines)
    assert lines == [("hosted", f"[ERROR] RequestId: {request_id} Error: {told}")]


async def test_an_exception_is_printed_by_lines_and_nothing_hides_it(hosted, capsys):
    """awslambdaric ends the lines of a traceback with a return, after a long warning."""
    lines = []
    async with running(hosted(), verbose=True, on_line=lambda *line: lines.append(line)) as stage:
        with pytest.raises(FunctionError):
            await stage.gateway.invoke("hosted", {"do": "fail"})
        await until(lambda: any('raise KeyError("no")' in line for _, line in lines))
    assert lines[0] == ("hosted", "[ERROR] KeyError: 'no'")
    assert lines[1] == ("hosted", "Traceback (most recent call last):")
    shown = capsys.readouterr().err.splitlines()
    assert shown == [f"hosted: {line}" for _, line in lines]
    assert not any("LAMBDA_WARNING" in line or "\r" in line for line in shown)


async def test_lines_of_the_output_are_handed_on_and_shown(hosted, capsys):
    """Who asked gets each line with its function; they go to standard error when asked for."""
    lines = []
    async with running(
        hosted(), verbose=True, on_line=lambda name, line: lines.append((name, line))
    ) as stage:
        await stage.gateway.invoke("hosted", {"do": "print"})
        await until(lambda: ("hosted", "plain") in lines)
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


@pytest.mark.parametrize("verbose", [True, False])
async def test_a_reason_that_is_shown_already_is_not_said_again(hosted, caplog, capsys, verbose):
    """What the runtime printed is repeated only where its lines are not shown."""
    function, lines = hosted("no_such_module.handler"), []
    async with running(function, verbose=verbose, on_line=lambda *a: lines.append(a)) as stage:
        with pytest.raises(FunctionError):
            await stage.gateway.invoke("hosted", {})
        await until(lambda: any("No module named" in line for _, line in lines))
    (said,) = [text for text in caplog.messages if "did not start" in text]
    assert ("No module named" in said) is not verbose
    assert ("No module named" in capsys.readouterr().err) is verbose


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


class Caller:
    """One connection to a Runtime API listener."""

    def __init__(self, reader, writer, host):
        self.reader, self.writer, self.host = reader, writer, host

    def send(self, method="GET", path="invocation/next", body=b"", host=None):
        """Send one request without waiting for its answer."""
        line = f"{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nHost: {host or self.host}\r\n"
        self.writer.write(f"{line}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def answer(self):
        """The status, headers and body of the next answer."""
        return await read_response(self.reader)

    async def close(self):
        """Hang up, and let the gateway see it."""
        self.writer.close()
        await self.writer.wait_closed()
        await turns()


@pytest.fixture
async def silent(tmp_path):
    """Make a function whose process says nothing, so that the test can call in its place."""
    file, callers = tmp_path / "address", []
    say = f'echo $AWS_LAMBDA_RUNTIME_API > "{file}.new"; mv "{file}.new" "{file}"'
    function = Function("hosted", command=("/bin/sh", "-c", f"{say}; exec sleep 600"), warm=1)

    async def call():
        await until(file.exists)
        host = file.read_text().strip()
        streams = await asyncio.open_connection("127.0.0.1", int(host.partition(":")[2]))
        callers.append(Caller(*streams, host))
        return callers[-1]

    yield function, call
    for caller in callers:
        await caller.close()


async def test_a_poll_that_hung_up_gets_no_event(silent):
    """Its environment is idle no more, until the process polls again."""
    function, call = silent
    async with running(function) as stage:
        first, second = await call(), await call()
        first.send()
        await turns()
        await first.close()
        invoking = asyncio.ensure_future(stage.gateway.invoke("hosted", {"for": "second"}))
        await turns()
        second.send()
        status, headers, body = await second.answer()
        assert (status, body) == (200, b'{"for":"second"}')
        own = f"invocation/{headers['lambda-runtime-aws-request-id']}/response"
        second.send("POST", own, b"1")
        assert await invoking == 1


async def test_a_process_whose_poll_was_lost_goes_on_and_is_replaced_if_it_never_asks(
    silent, tmp_path
):
    """It is stopped no more, so that it can ask; what waits for it gets another one."""
    function, call = silent
    clock = ManualClock()

    def is_stopped():
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        return status.rpartition(")")[2].split()[0] == "T"

    async with running(function, clock=clock) as stage:
        first = await call()
        await until(lambda: stage.gateway.process_ids()["hosted"])  # it may ask before we know
        (pid,) = stage.gateway.process_ids()["hosted"]
        first.send()
        await until(is_stopped)
        await first.close()
        await until(lambda: not is_stopped())
        invoking = asyncio.ensure_future(stage.gateway.invoke("hosted", {}))
        (tmp_path / "address").unlink()
        await turns()
        clock.advance(POLL_AGAIN_S)
        second = await call()
        assert pid not in stage.gateway.process_ids()["hosted"]
        second.send()
        _, headers, _ = await second.answer()
        own = f"invocation/{headers['lambda-runtime-aws-request-id']}/response"
        second.send("POST", own, b"1")
        assert await invoking == 1


async def test_a_stray_poll_is_refused_while_the_process_waits_or_runs(silent):
    """The event stays the process's own, and so does the invocation under way."""
    function, call = silent
    async with running(function) as stage:
        own, stray = await call(), await call()
        for number in range(2):
            own.send()
            await turns()
            stray.send()
            status, _, body = await stray.answer()
            assert status == 403
            assert b"InvalidStateTransition" in body
            invoking = asyncio.ensure_future(stage.gateway.invoke("hosted", number))
            _, headers, body = await own.answer()
            assert body == str(number).encode()
            stray.send()
            assert (await stray.answer())[0] == 403
            answer = f"invocation/{headers['lambda-runtime-aws-request-id']}/response"
            own.send("POST", answer, body)
            assert (await own.answer())[0] == 202
            assert await invoking == number


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "rebound.example:80"])
async def test_a_runtime_api_under_another_name_is_refused(silent, host):
    """A page in a browser, whose name leads to loopback, gets no event."""
    function, call = silent
    async with running(function):
        stray = await call()
        stray.send(host=host)
        assert (await stray.answer())[0] == 403


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
