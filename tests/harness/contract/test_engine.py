"""How clauses end, and what the engine makes of targets that are not what they seem."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json

import pytest
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from streamproof.contract import exact
from streamproof.contract.engine import ContractOptions, Progress, run, run_contract
from streamproof.contract.failures import Broken, Inconclusive, NotApplicable, expect
from streamproof.contract.registry import Clause, Group, select
from streamproof.contract.rules import RULES
from streamproof.contract.session import Patience
from streamproof.errors import ExitCode, HarnessError, TargetUnreachableError, UsageError
from streamproof.history import read
from streamproof.results import Level, Verdict
from streamproof.targets import Capability, TargetOptions, resolve
from streamproof.targets.safety import Caps
from support.fake_streamer import FakeStreamer
from support.virtual_time import run_virtual

QUICK = Patience(0.5, 1.0, 1.0)


def made(check, **changes) -> Clause:
    """A clause around a coroutine."""
    clause = Clause(
        id="MSG-1",
        level=Level.MUST,
        group=Group.STREAMER,
        needs=frozenset({Capability.WIRE}),
        sentence="s.",
        why="w",
        origin="o",
        check=check,
        timeout_s=5.0,
        alone=False,
        messages=1,
    )
    return dataclasses.replace(clause, **changes)


async def judged(clauses, folder, options=None, wrong: str = ""):
    """Run made-up clauses against the fake."""
    async with FakeStreamer(wrong) as fake:
        with resolve(fake.target(folder)) as target:
            return await run(target, options or ContractOptions(), lambda _: None, clauses)


def raising(error: BaseException):
    """A check that raises."""

    async def check(_) -> None:
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "level", "verdict", "code"),
    [
        (Broken("a", "b"), Level.MUST, Verdict.FAIL, ExitCode.BROKEN),
        (Broken("a", "b"), Level.SHOULD, Verdict.NON_STRICT, ExitCode.HOLDS),
        (Broken("a", "b"), Level.OBSERVED, Verdict.INFO, ExitCode.HOLDS),
        (TimeoutError(), Level.MUST, Verdict.FAIL, ExitCode.BROKEN),
        (NotApplicable("n"), Level.MUST, Verdict.NOT_APPLICABLE, ExitCode.HOLDS),
        (Inconclusive("i"), Level.MUST, Verdict.INCONCLUSIVE, ExitCode.NO_VERDICT),
        (HarnessError("h"), Level.MUST, Verdict.ERROR, ExitCode.NO_VERDICT),
        (ZeroDivisionError("z"), Level.MUST, Verdict.ERROR, ExitCode.NO_VERDICT),
        (TypeError("ours"), Level.MUST, Verdict.ERROR, ExitCode.NO_VERDICT),
    ],
)
async def test_each_ending_is_a_verdict(tmp_path, error, level, verdict, code) -> None:
    """An assertion blames the target by the clause's level, another exception the harness."""
    result = await judged([made(raising(error), level=level)], tmp_path)
    assert result.clauses[0].verdict is verdict
    assert result.exit_code is code


async def test_a_value_of_another_type_is_the_targets_fault(tmp_path) -> None:
    """Only where a clause handled it: the same error elsewhere is ours."""
    source = "async def check(_):\n    return None.get('x')\n"
    namespace: dict[str, object] = {}
    exec(compile(source, "/x/clauses/made.py", "exec"), namespace)
    result = await judged([made(namespace["check"])], tmp_path)
    assert result.clauses[0].verdict is Verdict.FAIL
    assert "AttributeError" in result.clauses[0].seen


@pytest.mark.parametrize(
    ("look", "missing"), [("{}['result']", "the member 'result'"), ("[][0]", "an item of a list")]
)
async def test_what_a_target_left_out_is_its_fault(tmp_path, look, missing) -> None:
    """A clause that looks for it fails, and says what was not there."""
    source = f"async def check(_):\n    return {look}\n"
    namespace: dict[str, object] = {}
    exec(compile(source, "/x/clauses/made.py", "exec"), namespace)
    result = await judged([made(namespace["check"])], tmp_path)
    assert result.clauses[0].verdict is Verdict.FAIL
    assert missing in result.clauses[0].expected


async def test_what_a_clause_saw_is_kept_without_secrets(tmp_path) -> None:
    """Neither a signed URL nor a token reaches the results."""
    seen = "http://h/k?X-Amz-Signature=beef&Authorization=eyJhbGciOi.eyJzdWIi.c2ln"
    result = await judged([made(raising(Broken("a", seen)))], tmp_path)
    assert result.clauses[0].seen == ("http://h/k?X-Amz-Signature=<secret>&Authorization=<token>")


async def test_rules_without_a_clause_are_named(tmp_path) -> None:
    """A run says which rules no clause looks at, and which were left out of it."""
    result = await judged([made(raising(NotApplicable("n")))], tmp_path)
    bare, rest = [line for line in result.not_shown if "ROUTE-" in line]
    assert bare.startswith("no clause yet for 27 rules: AUTH-6, 9, CONN-1 to 3, ROUTE-4, 5, ")
    assert bare.endswith("OBS-1 to 5")
    assert rest.startswith("left out of this run: AUTH-1 to 5, 7, 8, ")
    assert "MSG-2 to 5" in rest
    whole = await judged([made(raising(NotApplicable("n")), id=rule) for rule in RULES], tmp_path)
    assert not [line for line in whole.not_shown if "ROUTE-" in line]


async def test_a_clause_has_its_time(tmp_path) -> None:
    """One that does not end fails, and the others are not held up."""

    async def endless(_) -> None:
        await asyncio.Event().wait()

    result = await judged([made(endless, timeout_s=0.05)], tmp_path)
    assert result.clauses[0].verdict is Verdict.FAIL
    assert "0.05 s" in result.clauses[0].expected


async def test_missing_capabilities_are_never_green(tmp_path) -> None:
    """What a clause lacks is named, and it is not shown."""
    clause = made(raising(ZeroDivisionError()), needs=frozenset({Capability.ADMIN}))
    result = await judged([clause], tmp_path)
    assert result.clauses[0].verdict is Verdict.NOT_APPLICABLE
    assert result.clauses[0].reason == "the target lacks: admin"
    assert any("ops" in line for line in result.not_shown)
    assert result.exit_code is ExitCode.HOLDS


async def test_harmful_clauses_run_after_the_others(tmp_path) -> None:
    """One that harms its neighbours has none."""
    order = []

    def noting(name):
        async def check(ctx) -> None:
            session = await ctx.connect()
            await session.data("ping")
            order.append(name)

        return check

    clauses = [
        made(noting("alone"), alone=True),
        made(noting("a"), id="MSG-2"),
        made(noting("b"), id="MSG-3"),
    ]
    result = await judged(clauses, tmp_path)
    assert order[-1] == "alone"
    assert [clause.id for clause in result.clauses] == ["MSG-1", "MSG-2", "MSG-3"]
    assert all(clause.log for clause in result.clauses)


async def test_the_history_is_held_against_the_clause_of_its_rule(tmp_path) -> None:
    """A gap seen in passing fails MSG-4, though its own clause saw none."""

    async def looks_away(ctx) -> None:
        session = await ctx.connect()
        request_id = await session.request(
            "probe.async", {"steps": [{"percentage": 5, "ms": 0}], "result": 1}
        )
        await session.result(request_id)

    async def fine(_) -> None:
        return None

    clauses = [made(looks_away, id="ASYNC-1"), made(fine, id="MSG-4")]
    result = await judged(clauses, tmp_path, wrong="a gap")
    verdicts = {clause.id: clause.verdict for clause in result.clauses}
    assert verdicts == {"ASYNC-1": Verdict.PASS, "MSG-4": Verdict.FAIL}
    assert result.history_violations
    assert result.exit_code is ExitCode.BROKEN


async def test_a_run_is_recorded(tmp_path) -> None:
    """The history has a header, both directions, a footer, and no token."""
    path = tmp_path / "history.ndjson"

    async def echo(ctx) -> None:
        session = await ctx.connect()
        await session.data("echo", {"a": 1})

    await judged([made(echo)], tmp_path, ContractOptions(history=path))
    kinds = [event["kind"] for event in read(path)]
    assert kinds[0] == "header"
    assert kinds[-1] == "footer"
    assert {"open", "sent", "received", "close"} <= set(kinds)
    assert "eyJ" not in path.read_text()


async def test_progress_is_told(tmp_path) -> None:
    """First the line that says what will be opened, then each clause."""
    steps: list[Progress] = []
    async with FakeStreamer() as fake:
        with resolve(fake.target(tmp_path)) as target:
            options = ContractOptions(clauses=("ROUTE-1", "GW-2"))
            await run(target, options, steps.append)
    assert "opens about" in steps[0].line
    assert [step.done for step in steps] == [0, 1, 2]


@pytest.mark.parametrize("platform", [False, True])
async def test_the_platform_is_observed_unless_asked_for(tmp_path, platform) -> None:
    """A target that claims to be no gateway is not failed for not being one."""
    async with FakeStreamer("odd ids") as fake:
        fake.target(tmp_path)
        options = TargetOptions(jwt_key=tmp_path / "key.pem", issuer="https://fake.test")
        with resolve(fake.url, options) as target:
            asked = ContractOptions(clauses=("GW-2",), platform=platform)
            result = await run(target, asked, lambda _: None)
    assert result.clauses[0].verdict is (Verdict.FAIL if platform else Verdict.INFO)
    assert any("observed" in line for line in result.not_shown) is not platform


async def test_production_runs_the_group_connection_alone(tmp_path) -> None:
    """Everything else stays away from a host in production."""
    async with FakeStreamer() as fake:
        word = fake.target(tmp_path)
        options = TargetOptions(environment="production", accept_load_on="127.0.0.1")
        with resolve(word, options) as target:
            asked = ContractOptions(clauses=("AUTH-4", "SYNC-1", "BCAST-1"))
            result = await run(target, asked, lambda _: None)
    assert [clause.id for clause in result.clauses] == ["AUTH-4", "AUTH-4/tenant"]


async def test_one_given_token_is_enough_for_some(tmp_path) -> None:
    """Without a key the clauses that need no second user still run; the others say what lacks."""
    async with FakeStreamer() as fake:
        with resolve(fake.target(tmp_path)) as target:
            token = target.mint.good()
        with resolve(fake.url, TargetOptions(token=token)) as target:
            asked = ContractOptions(
                clauses=("AUTH-1", "AUTH-2", "AUTH-3", "MSG-2", "CONN-5", "SYNC-1/roles")
            )
            result = await run(target, asked, lambda _: None)
    verdicts = {clause.id: clause.verdict for clause in result.clauses}
    assert verdicts.pop("AUTH-3") is Verdict.NOT_APPLICABLE
    assert verdicts.pop("AUTH-3/audience") is Verdict.NOT_APPLICABLE
    assert verdicts.pop("CONN-5/refused") is Verdict.NOT_APPLICABLE
    assert set(verdicts.values()) == {Verdict.PASS}


async def test_without_a_token_a_closed_door_is_a_wrong_word(tmp_path) -> None:
    """A target that wants a token cannot be judged without one."""
    async with FakeStreamer() as fake:
        with (
            resolve(fake.url) as target,
            pytest.raises(UsageError, match="401 without a token") as raised,
        ):
            await run(target, ContractOptions(), lambda _: None)
    assert "--jwt-key" in raised.value.hint


async def test_an_open_door_is_judged(tmp_path) -> None:
    """A server that lets everybody in fails AUTH-4, and what needs a token does not apply."""
    async with serve(_echo, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/dev"
        with resolve(url) as target:
            asked = ContractOptions(clauses=("AUTH", "SYNC-1/roles"), patience=QUICK)
            result = await run(target, asked, lambda _: None)
    by_id = {clause.id: clause for clause in result.clauses}
    assert by_id["AUTH-4"].seen == "an open connection"
    assert by_id["SYNC-1/roles"].verdict is Verdict.FAIL
    assert by_id["AUTH-1"].verdict is Verdict.NOT_APPLICABLE


async def test_redirects_are_not_followed(tmp_path) -> None:
    """They could lead to a host that nobody cleared."""
    async with FakeStreamer() as fake:
        word = fake.target(tmp_path)

        def elsewhere(socket, _):
            answer = socket.respond(307, "there")
            answer.headers["Location"] = fake.url
            return answer

        async with serve(_echo, "127.0.0.1", 0, process_request=elsewhere) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/dev"
            with resolve(word) as right:
                token = right.mint.good()
            with (
                resolve(url, TargetOptions(token=token)) as target,
                pytest.raises(TargetUnreachableError, match="status 307"),
            ):
                await run(target, ContractOptions(), lambda _: None)


@pytest.mark.parametrize(
    ("caps", "reason"),
    [
        (Caps(duration_s=0.0), "were over"),
        (Caps(messages=4, messages_per_s=None), "at most 4 messages"),
        (Caps(connections=2, messages_per_s=1000.0), "at most 2 connections"),
    ],
)
async def test_caps_leave_the_rest_undecided(tmp_path, caps, reason) -> None:
    """What a remote target may not be asked is inconclusive, never passed."""

    async def three_connections(ctx) -> None:
        for _ in range(3):
            session = await ctx.connect()
            await session.data("ping")

    async with FakeStreamer() as fake:
        with resolve(fake.target(tmp_path)) as target:
            target.clearance = dataclasses.replace(target.clearance, caps=caps)
            clauses = [made(three_connections)]
            result = await run(target, ContractOptions(), lambda _: None, clauses)
    assert result.clauses[0].verdict is Verdict.INCONCLUSIVE
    assert reason in result.clauses[0].reason
    assert result.exit_code is ExitCode.NO_VERDICT


async def test_no_probe_pack_is_not_applicable(tmp_path) -> None:
    """A target without it answers INVALID_ACTION, and its clauses are not run."""

    async def handler(socket) -> None:
        async for text in socket:
            try:
                request_id = json.loads(text)["id"]
            except ValueError:
                request_id = None
            error = {"code": "INVALID_ACTION", "message": "m", "retry": {"retryable": False}}
            answer = {"type": "error", "timestamp": 1_742_086_800_000, "error": error}
            await socket.send(json.dumps({**answer, "request_id": request_id, "sequence": 0}))

    async with serve(handler, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/dev"
        with resolve(url, TargetOptions(token="t")) as target:
            asked = ContractOptions(clauses=("ASYNC-5/roles", "GW-2"), patience=QUICK)
            result = await run(target, asked, lambda _: None)
    by_id = {clause.id: clause for clause in result.clauses}
    assert by_id["GW-2"].reason == "the target lacks: mint, probe"
    assert by_id["ASYNC-5/roles"].reason == "no failing request is bound"


async def _echo(socket) -> None:
    async for text in socket:
        await socket.send(text)


async def _silent(socket) -> None:
    await socket.wait_closed()


async def _closing(socket) -> None:
    await socket.close(1011)


async def _flooding(socket) -> None:
    with contextlib.suppress(ConnectionClosed, ConnectionError):
        while True:
            await socket.send("x" * 500_000)


@pytest.mark.parametrize(
    ("handler", "words"),
    [(_silent, "says nothing"), (_closing, "says nothing"), (_flooding, "over 4,194,304 bytes")],
)
async def test_what_cannot_be_judged_is_no_target(handler, words) -> None:
    """Silence and floods are blamed on the address, in one line."""
    async with serve(handler, "127.0.0.1", 0, compression=None, close_timeout=0.1) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/dev"
        with (
            resolve(url, TargetOptions(token="t")) as target,
            pytest.raises(TargetUnreachableError, match=words),
        ):
            await run(target, ContractOptions(patience=QUICK), lambda _: None)


async def test_an_echo_server_is_judged_and_fails(tmp_path) -> None:
    """It answers, so it is a target; it keeps next to nothing, and the harness does not break."""
    async with serve(_echo, "127.0.0.1", 0, max_size=None) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/dev"
        async with FakeStreamer() as fake:
            fake.target(tmp_path)
        with resolve(url, TargetOptions(jwt_key=tmp_path / "key.pem")) as target:
            asked = ContractOptions(patience=QUICK, concurrency=60)
            result = await run(target, asked, lambda _: None)
    assert result.duration_s < 20
    assert result.exit_code is ExitCode.BROKEN
    verdicts = [clause.verdict for clause in result.clauses]
    assert Verdict.ERROR not in verdicts
    assert verdicts.count(Verdict.FAIL) > 40


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TargetOptions(token="no.good.token"), "refused a good token with status 401"),
        (TargetOptions(), "no connection"),
    ],
)
async def test_refused_and_closed_targets_are_named(unused_tcp_port, options, words) -> None:
    """A refused good token and a closed port are the words' fault, not the target's."""
    async with FakeStreamer() as fake:
        url = fake.url if options.token else f"ws://127.0.0.1:{unused_tcp_port}/dev"
        with (
            resolve(url, options) as target,
            pytest.raises(TargetUnreachableError, match=words) as raised,
        ):
            await run(target, ContractOptions(), lambda _: None)
    assert raised.value.hint


def test_a_hanging_handler_is_found_after_25_seconds(tmp_path) -> None:
    """SYNC-3 waits as long as the contract allows; the test waits in virtual time."""

    async def body(wrong: str):
        folder = tmp_path / (wrong or "right")
        folder.mkdir()
        return await judged(select(["SYNC-3"]), folder, wrong=wrong)

    assert run_virtual(body("")).clauses[0].verdict is Verdict.PASS
    assert run_virtual(body("hangs")).clauses[0].verdict is Verdict.FAIL


def test_a_run_needs_no_loop_of_the_callers(tmp_path) -> None:
    """`run_contract` brings its own; here it finds nobody at home."""
    with resolve("ws://127.0.0.1:9/dev") as target, pytest.raises(TargetUnreachableError):
        run_contract(target)


async def test_unknown_clauses_are_refused_before_anything_opens(tmp_path) -> None:
    """A typo opens no connection."""
    with resolve("ws://127.0.0.1:9/dev") as target, pytest.raises(UsageError):
        await run(target, ContractOptions(clauses=("AUHT-1",)), lambda _: None)


def test_expectations_say_both_sides() -> None:
    """What was expected and what was seen; what is seen is bounded."""
    expect(True, "a", "b")
    with pytest.raises(Broken, match="expected a; saw b"):
        expect(False, "a", "b")
    assert len(Broken("a", "x" * 9999).seen) == 1000
    with pytest.raises(Broken, match="the member z"):
        exact.parse("{}")["z"]


@pytest.mark.parametrize(
    ("limits", "clause", "reason"),
    [
        ({"burst": 5000}, "LIMIT-2", "a burst of 5000 is not tried"),
        ({"burst": 20, "in_flight": 10}, "LIMIT-3", "binds before 10 are in flight"),
        ({"burst": None, "in_flight": None}, "LIMIT-2", "no message rate"),
        ({"burst": None, "in_flight": None}, "LIMIT-3", "no limit of requests in flight"),
    ],
)
async def test_limits_that_cannot_be_tried_do_not_apply(tmp_path, limits, clause, reason) -> None:
    """Too large, hidden behind another one, or off."""
    async with FakeStreamer() as fake:
        declared = {"messages_per_minute": 60, **limits}
        with resolve(fake.target(tmp_path, limits=declared)) as target:
            result = await run(target, ContractOptions(clauses=(clause,)), lambda _: None)
    assert result.clauses[0].verdict is Verdict.NOT_APPLICABLE
    assert reason in result.clauses[0].reason


async def test_named_tenants_are_the_only_ones_used(tmp_path) -> None:
    """Where tenants are named, clauses keep to them, and another one must be refused."""
    async with FakeStreamer() as fake:
        options = TargetOptions(tenants=("one", "two"))
        with resolve(fake.target(tmp_path), options) as target:
            names = ("AUTH-4/tenant", "AUTH-5", "OWN-1", "ASYNC-4", "BCAST-1")
            result = await run(target, ContractOptions(clauses=names), lambda _: None)
        tenants = {tenant for tenant, *_ in fake.jobs}
    assert tenants == {"one", "two"}
    verdicts = {clause.id: clause.verdict for clause in result.clauses}
    assert verdicts.pop("AUTH-4/tenant") is Verdict.FAIL  # the fake lets every tenant in
    assert set(verdicts.values()) == {Verdict.PASS}


async def test_one_named_tenant_is_too_few_for_some(tmp_path) -> None:
    """A clause about two tenants says what it needs."""
    async with FakeStreamer() as fake:
        options = TargetOptions(tenants=("one",))
        with resolve(fake.target(tmp_path), options) as target:
            asked = ContractOptions(clauses=("BCAST-1", "PROG-3"))
            result = await run(target, asked, lambda _: None)
    by_id = {clause.id: clause for clause in result.clauses}
    assert "--tenant" in by_id["BCAST-1"].reason
    assert by_id["PROG-3"].verdict is Verdict.PASS
