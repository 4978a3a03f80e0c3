"""One seed against a stack of its own: start, strike, heal, drain, judge, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from streamproof.history import HistoryChecker, Recorder
from streamproof.nemesis.clients import Client, Journal
from streamproof.nemesis.executor import Done, execute
from streamproof.nemesis.faults import Fault
from streamproof.nemesis.judge import count, doubts, judge
from streamproof.nemesis.schedule import Arrival, Options, Schedule, make
from streamproof.nemesis.witness import witness
from streamproof.nemesis.world import EmbeddedWorld, GatewayFaults
from streamproof.results import SeedResult
from streamproof.targets.base import Description
from streamproof.targets.embedded import Stack, StackOptions
from streamproof.targets.state import prepare
from streamproof.targets.tokens import Identity, TokenMint

HISTORY_NAME = "history.ndjson"
TENANT = "nemesis"
LOST_S = 45.0  # without any outcome for so long after the faults, nothing more will come
QUIET_S = 2.5  # after the last outcome: what must not come has time to
POLL_S = 0.1  # the drain ends by itself once nothing has ended for LOST_S
SHOW_S = 5.0
HASTY_STOP_S = 0.5  # for what runs, when the run is thrown away

Show = Callable[[str], None]


async def run_seed(
    options: Options, seed: int, folder: Path, command: str, show: Show, *, within_s: float
) -> SeedResult:
    """Run one seed and judge it; its history stays in `folder`."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    def clock() -> float:
        return loop.time() - began_s

    schedule, checker, faults = make(options, seed), HistoryChecker(faults=True), GatewayFaults()
    history = folder / HISTORY_NAME
    with Recorder.open(history, clock, faults=True, seed=seed, command=command) as recorder:
        journal = Journal(recorder, checker, clock)
        async with (
            _stack(faults) as (stack, store, description),
            _clients(options, description, journal) as clients,
        ):
            world = (stack, store, faults)
            run = _Run(schedule, world, clients, journal, show)
            async with run.shown():
                done = await run.strike()
                await run.drain()
            stack.services.metrics.flush()
            taken_over = int(stack.metrics.totals().get("LeaseExpired", 0))
        checker.finish(clock())
    tracks = [track for client in clients for track in client.tracks.values()]
    findings = judge(tracks)
    found = {str(finding): finding.request_id for finding in findings}
    found |= {str(violation): violation.request_id for violation in checker.violations}
    found |= {
        f"CONN-5: client {number} was cut off {client.cut_off} times": ""
        for number, client in enumerate(clients)
        if client.cut_off
    }
    counts = count(tracks)
    counts["repeated messages"] = checker.repeat_count
    struck = {**done.counts, **faults.counts, "takeovers": taken_over}
    duration_s = round(clock(), 1)
    first = next(iter(found), "")
    return SeedResult(
        seed=seed,
        duration_s=duration_s,
        counts=dict(counts),
        faults=dict(sorted(struck.items())),
        violations=tuple(found),
        witness=tuple(witness(history, found[first])) if first else (),
        reason="; ".join(doubts(options, counts, struck, done.missed, duration_s, within_s)),
        command=command,
    )


class _Run:
    """What one seed does to one stack."""

    def __init__(
        self,
        schedule: Schedule,
        world: tuple[Stack, Path, GatewayFaults],
        clients: list[Client],
        journal: Journal,
        show: Show,
    ) -> None:
        self._schedule = schedule
        self._clients = clients
        self._journal = journal
        self._show = show
        self._world = EmbeddedWorld(*world, self._drop)

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Say every few seconds how far it is."""
        showing = asyncio.create_task(self._keep_showing())
        try:
            yield
        finally:
            showing.cancel()

    async def strike(self) -> Done:
        """Send everything and do everything."""
        return await execute(self._schedule, self._world, self._send, self._tell)

    async def drain(self) -> None:
        """Wait until every request has ended or nothing has for long, then ask about all."""
        await asyncio.gather(*(client.settle() for client in self._clients))
        self._show(f"healed; {self._open()} requests have not ended")
        healed_s = self._journal.clock()
        while self._open():
            last_s = max([healed_s] + [client.last_outcome_s for client in self._clients])
            if self._journal.clock() - last_s > LOST_S:
                break
            await asyncio.sleep(POLL_S)
        await asyncio.sleep(QUIET_S)
        await asyncio.gather(*(client.ask_all() for client in self._clients))

    def _open(self) -> int:
        return sum(client.open_requests for client in self._clients)

    async def _send(self, arrival: Arrival) -> None:
        await self._clients[arrival.client].send(arrival)

    async def _drop(self, client: int, how: str) -> bool:
        return await self._clients[client].drop(how)

    def _tell(self, fault: Fault, what: str) -> None:
        self._journal.recorder.fault(fault.name, what)
        self._show(f"{self._journal.clock():5.1f} s  {fault.name}: {what}")

    async def _keep_showing(self) -> None:
        while True:
            await asyncio.sleep(SHOW_S)
            sent = sum(len(client.tracks) for client in self._clients)
            self._show(f"{self._journal.clock():5.1f} s  {sent} sent, {self._open()} not ended")


@contextlib.asynccontextmanager
async def _stack(faults: GatewayFaults) -> AsyncIterator[tuple[Stack, Path, Description]]:
    """A stack on a folder of its own, which is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="streamproof-nemesis-") as folder:
        state = prepare(Path(folder))
        stack = Stack(state, StackOptions(messages_per_minute=0, in_flight=0, faults=faults))
        try:
            yield stack, state.store, await stack.start()
        except BaseException:
            await stack.gateway.stop(HASTY_STOP_S)
            raise
        finally:
            await stack.stop()
            state.release()


@contextlib.asynccontextmanager
async def _clients(
    options: Options, description: Description, journal: Journal
) -> AsyncIterator[list[Client]]:
    """Open clients, each a user of its own."""
    mint = TokenMint.read(
        Path(str(description.jwt_private_key)), description.issuer, description.audience
    )
    clients = [
        Client(
            number,
            description.url,
            mint.mint(Identity(f"user-{number}", TENANT, ("probe",))),
            journal,
        )
        for number in range(options.clients)
    ]
    try:
        for client in clients:
            await client.open()
        yield clients
    finally:
        await asyncio.gather(*(client.close() for client in clients))
