"""One seed, one world: play the plan, stop the faults, let everything end, and judge."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from streamproof.history import Violation
from streamproof.simulation import judge
from streamproof.simulation.clients import Clients
from streamproof.simulation.cloud import Cloud
from streamproof.simulation.faults import Faults
from streamproof.simulation.flaws import FLAWS
from streamproof.simulation.gateway import Gateway, Network, Posts
from streamproof.simulation.loop import DeadlockError, SimulationLoop
from streamproof.simulation.plan import Plan, Planner
from streamproof.simulation.store import ENDED, Change, SimulatedStore
from streamproof.simulation.system import EPOCH_MS, Limits, Ports, Program, Run, System
from streamproof.simulation.trace import Event, Trace

FAULTS_S = 9.0  # when the faults stop
BOUND_S = 150.0  # within which everything has ended after that
LOOK_S = 0.5


@dataclasses.dataclass(frozen=True, slots=True)
class Played:
    """What became of a seed."""

    seed: int
    violations: tuple[Violation, ...]
    events: tuple[Event, ...]
    classes: Counter[str]
    faults: tuple[str, ...]
    digest: str
    seconds: float  # virtual

    @property
    def holds(self) -> bool:
        """Whether nothing was broken."""
        return not self.violations


class World:
    """Everything of one seed."""

    def __init__(
        self, seed: int, system: System, *, mutant: str | None = None, verbose: bool = False
    ) -> None:
        """`mutant` names what is planted, for the flaws of the store; `verbose` shows its calls."""
        self.seed = seed
        self.system = system
        self.loop = SimulationLoop()  # type: ignore[abstract]  # no sockets, no signals
        self.trace = Trace(self.loop.time)
        self.faults = Faults(seed, self.loop.time, self._fault)
        self.cloud = Cloud(self.loop, self.faults, self.trace, self._start)
        network = Network(self.loop, self.faults, self.trace, self.cloud)
        network.error = system.vocabulary.store_error
        network.verbose = verbose
        self.store = SimulatedStore(
            system.vocabulary,
            network.ask,
            now_s=self.loop.time,
            lag_s=network.lag_s,
            on_change=self._change,
            on_unfenced=lambda request_id, attempt: self.violate(
                "ASYNC-3", "", request_id, f"attempt {attempt} wrote, and another held it"
            ),
        )
        for flaw in system.store_flaws(mutant):
            FLAWS[flaw](self.store)
        self.gateway = Gateway(self.loop, self.faults, self.trace, self.cloud, system)
        self.clients = Clients(self.loop, self.gateway, self.trace, system.token)
        self.plan = self._plan()
        self.began: list[Run] = []
        self.ended: list[tuple[Run, str]] = []
        self.places: dict[Run, str] = {}  # the process of each run
        self.broken: list[Violation] = []
        self.asked: dict[tuple[int, str], dict[str, Any]] = {}  # what `status` said at the end
        self._posts = Posts(self.gateway)

    def _plan(self) -> Plan:
        leaving = self.faults.rate("client gone")
        return Planner(self.seed).plan(leaving=leaving, deaf=self.faults.rate("client deaf"))

    def play(self) -> Played:
        """Run it to its end; a deadlock is a violation."""
        try:
            self.loop.run(self._main())
        except DeadlockError as error:
            self.violate("ASYNC-1", "", "", str(error))
        return Played(
            self.seed,
            tuple(self.broken),
            tuple(self.trace.events),
            self.trace.classes,
            tuple(self.faults.kinds),
            self.trace.digest(),
            self.loop.time(),
        )

    def violate(self, rule: str, connection: str, request_id: str, what: str) -> None:
        """Note that a rule is broken."""
        self.broken.append(Violation(rule, connection, request_id, what, self.loop.time()))

    async def _main(self) -> None:
        for act in self.plan.acts:
            self.loop.outside(act.at_s, self.clients.do, act)
        self._sweep(0)
        last_s = max((act.at_s for act in self.plan.acts), default=0.0)
        if self.faults.kinds:
            await self._until(lambda: False, max(FAULTS_S, last_s + 1.0))
        else:
            await self._until(lambda: False, last_s + 0.01)
        self.faults.stop()
        self.trace.add("calm", "world", "the faults stop")
        bound_s = self.loop.time() + BOUND_S
        if not await self._until(self._quiet, bound_s):
            for what in self._restless():
                self.violate("ASYNC-1", "", what[0], what[1])
        await judge.ask_for_all(self)
        judge.judge(self)

    def _quiet(self) -> bool:
        if self.clients.under_way or not self.cloud.idle:
            return False
        return all(
            stored.outbox.closed and stored.outbox.taken for stored in self.store.requests.values()
        )

    def _restless(self) -> list[tuple[str, str]]:
        left = [
            (stored.request.request_id, f"{stored.request.status}, {_delivery(stored.outbox)}")
            for stored in self.store.requests.values()
            if not (stored.outbox.closed and stored.outbox.taken)
        ]
        if not left:
            left = [("", "something still runs")]
        return [(name, f"{what}, {BOUND_S:.0f} s after the faults") for name, what in left]

    async def _until(self, done: Callable[[], bool], bound_s: float) -> bool:
        """Look twice a second; False when the bound came first."""
        while not done():
            left_s = bound_s - self.loop.time()
            if left_s <= 0:
                return False
            await self.loop.pass_time(min(LOOK_S, left_s))
        return True

    def _sweep(self, number: int) -> None:
        sweeper = number % self.plan.sweepers
        self.loop.go(self.cloud.sweep({}, sweeper))
        self.loop.outside(self.plan.sweep_s, self._sweep, number + 1)

    # What processes do to the world

    def _start(self, name: str) -> Program:
        self.trace.add("born", name, "")
        dice = random.Random(f"{self.seed} {name}")  # noqa: S311 - a seed's own dice
        return self.system.start(
            Ports(
                name,
                self.store,
                self._posts,
                self._now_ms,
                dice,
                self.cloud.invoke_later,
                self._began,
                self._run_ended,
                self.cloud.die,
                Limits(self.plan.messages_per_minute, self.plan.in_flight),
            )
        )

    def _now_ms(self) -> int:
        return EPOCH_MS + int(self.loop.time() * 1000)

    def _fault(self, kind: str, where: str) -> None:
        self.trace.add("fault", kind, where)
        self.trace.classes[f"fault: {kind}"] += 1

    def _change(self, change: Change) -> None:
        old, new, about = change.old, change.new, change.request_id
        before = old["status"] if old else "nothing"
        after = f"{new['status']} (attempt {new['attempt']})" if new else "nothing"
        self.trace.add("status", about, f"{before} -> {after}", about)
        if old and old["status"] in ENDED:
            self.violate("ASYNC-3", "", about, f"{old['status']} became {after}")
        if old and new and new["deaths"] > old["deaths"]:
            self.trace.classes["takeover"] += 1
        self.cloud.change(change)

    def _began(self, run: Run) -> None:
        if self.cloud.here_alive():
            self.began.append(run)
            self.places[run] = self.cloud.here()
            what = f"{run.request_id}, tag {run.tag or 'none'}, attempt {run.attempt}"
            self.trace.add("runs", self.cloud.here(), what, run.request_id)

    def _run_ended(self, run: Run, how: str) -> None:
        if self.cloud.here_alive():
            self.ended.append((run, how))
            what = f"{run.request_id}, attempt {run.attempt}: {how}"
            self.trace.add("ran", self.cloud.here(), what, run.request_id)


def _delivery(outbox: Any) -> str:
    if not outbox.closed:
        return "its outcome without a number"
    return "delivered" if outbox.taken else "its outcome not taken"
