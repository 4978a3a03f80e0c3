"""Every clause passes on a right implementation, and is failed by a wrong one."""

from __future__ import annotations

import asyncio

import pytest

from streamproof.contract.engine import ContractOptions, run
from streamproof.contract.registry import all_clauses
from streamproof.contract.session import Patience
from streamproof.results import ContractResult, Verdict
from streamproof.targets import resolve
from support.fake_streamer import FakeStreamer

# A fault of the fake Streamer, and the clause that must find it.
FAULTS = {
    "no Bearer": "AUTH-1",
    "falls back to the header": "AUTH-1",
    "checks no signature": "AUTH-2",
    "takes none": "AUTH-2",
    "takes HS256": "AUTH-2",
    "takes an embedded jwk": "AUTH-2",
    "takes any RSA": "AUTH-2",
    "ignores crit": "AUTH-2",
    "needs no exp": "AUTH-3",
    "takes expired": "AUTH-3",
    "ignores nbf": "AUTH-3",
    "ignores iat": "AUTH-3",
    "ignores iss": "AUTH-3",
    "takes an empty sub": "AUTH-3",
    "403 for a bad token": "AUTH-4",
    "says why": "AUTH-4",
    "believes metadata": "AUTH-5",
    "identity from metadata": "AUTH-5",
    "reads no permissions": "AUTH-7",
    "outlives its token": "AUTH-8",
    "a close cancels": "CONN-4",
    "opens, then closes": "CONN-5",
    "greets": "CONN-5",
    "replaces bad ids": "MSG-2",
    "ids from a clock": "MSG-1",
    "silent on nonsense": "MSG-2",
    "dies of nonsense": "MSG-2",
    "takes any JSON": "MSG-2",
    "no fields": "MSG-2",
    "names one field": "MSG-2/fields",
    "no request_id in errors": "MSG-3",
    "rewrites ids": "MSG-3",
    "timestamps in seconds": "MSG-3",
    "timestamps as text": "MSG-3",
    "numbers from 1": "MSG-4",
    "a gap": "MSG-4",
    "one number twice": "MSG-4",
    "numbers duplicates": "MSG-4",
    "floats": "MSG-5",
    "rounds results": "MSG-5",
    "rounds in status": "MSG-5",
    "takes members away": "MSG-5",
    "any case": "ROUTE-1",
    "no validation": "ROUTE-2",
    "no acknowledgment": "ROUTE-3",
    "answers twice": "SYNC-1",
    "loses answers": "SYNC-1/roles",
    "shows exceptions": "SYNC-2",
    "flattens errors": "SYNC-2",
    "retry left out": "ERR-1",
    "a code of its own": "ERR-1",
    "loses requests": "ASYNC-1",
    "drops outcomes": "ASYNC-2",
    "two outcomes": "ASYNC-2",
    "progress after the outcome": "ASYNC-2",
    "overtakes": "ASYNC-2",
    "runs twice": "ASYNC-3",
    "forgets ids": "ASYNC-4",
    "keys without user": "ASYNC-4",
    "keys without tenant": "ASYNC-4",
    "joins with #": "ASYNC-4/encoding",
    "no retry": "ASYNC-5",
    "says nothing of failures": "ASYNC-5/roles",
    "one after the other": "ASYNC-6",
    "a 0..1 scale": "PROG-1",
    "past 100": "PROG-1",
    "NaN": "PROG-1",
    "a percentage as text": "PROG-1",
    "falls back": "PROG-1",
    "a message per update": "PROG-2",
    "one step behind": "PROG-2",
    "keeps the first of a batch": "PROG-2",
    "drops the last": "PROG-3",
    "status without progress": "PROG-4",
    "metadata ahead": "PROG-5",
    "starts again from 0": "PROG-6",
    "dies with its worker": "RECOV-1",
    "deaths count as failures": "RECOV-1",
    "poison runs for ever": "RECOV-5",
    "poison ends at once": "RECOV-5",
    "poison runs six times": "RECOV-5",
    "poison takes its neighbours": "RECOV-5",
    "drops results": "RECOV-3",
    "shows others": "OWN-1",
    "tells that it exists": "OWN-1",
    "goes on after cancel": "CANCEL-1",
    "cancels the ended": "CANCEL-1",
    "broadcasts to all": "BCAST-1",
    "broadcasts twice": "BCAST-1",
    "forgets the sender": "BCAST-1",
    "fails on gone": "BCAST-2",
    "large results vanish": "LIMIT-1",
    "a url to nowhere": "LIMIT-1",
    "a url to another machine": "LIMIT-1",
    "a url of another kind": "LIMIT-1",
    "no url": "LIMIT-1",
    "no rate limit": "LIMIT-2",
    "no after_ms": "LIMIT-2",
    "no limit in flight": "LIMIT-3",
    "odd ids": "GW-2",
    "200 for a plain GET": "GW-3",
    "one at a time": "GW-5",
    "no size limit": "GW-8",
    "takes binary": "GW-8",
}
# SYNC-3 takes 27 s to find a handler that hangs; no fake answers for management or variants.
UNTRIED = {"SYNC-3", "AUTH-3/audience", "AUTH-4/tenant", "GW-6", "GW-7"}
# The other clauses of a rule, each with a fault that it must find as well.
SIBLINGS = {
    "CONN-5/refused": "a refusal cuts its user off",
    "ASYNC-2/roles": "drops outcomes",
    "ASYNC-4/roles": "forgets ids",
    "OWN-1/roles": "keys of ids alone",
}
PAIRS = [*FAULTS.items(), *((fault, name) for name, fault in SIBLINGS.items())]
SIDE_BY_SIDE = 20


async def judge(wrong: str, names: tuple[str, ...], patience: Patience, folder) -> ContractResult:
    """Run these clauses against a fake with one fault."""
    async with FakeStreamer(wrong) as fake:
        with resolve(fake.target(folder)) as target:
            options = ContractOptions(clauses=names, patience=patience)
            return await run(target, options, lambda _: None)


async def judge_all(folder) -> dict[tuple[str, str], ContractResult]:
    """One run per fault, some at a time."""
    slots = asyncio.Semaphore(SIDE_BY_SIDE)
    results = {}

    async def one(number: int, fault: str, name: str) -> None:
        place = folder / str(number)
        place.mkdir()
        async with slots:
            results[fault, name] = await judge(fault, (name,), Patience(1.5, 4.5, 3.0), place)

    pairs = enumerate(PAIRS)
    await asyncio.gather(*(one(number, fault, name) for number, (fault, name) in pairs))
    return results


@pytest.fixture(scope="module")
def wrong_results(tmp_path_factory) -> dict[tuple[str, str], ContractResult]:
    """What the clauses say of every wrong implementation."""
    return asyncio.run(judge_all(tmp_path_factory.mktemp("wrong")))


@pytest.mark.parametrize(("fault", "name"), PAIRS)
def test_the_fault_is_found_by_its_clause(fault, name, wrong_results) -> None:
    """The named clause fails on the implementation with this fault."""
    found = {clause.id: clause for clause in wrong_results[fault, name].clauses}[name]
    assert found.verdict in (Verdict.FAIL, Verdict.NON_STRICT), found
    assert found.expected
    assert found.seen
    assert found.log or name.startswith(("AUTH", "GW"))


async def test_a_right_implementation_passes(tmp_path) -> None:
    """Nothing fails on the fake without a fault, and its history is clean."""
    result = await judge("", (), Patience(), tmp_path)
    wrong = {
        clause.id: clause
        for clause in result.clauses
        if clause.verdict not in (Verdict.PASS, Verdict.NOT_APPLICABLE)
    }
    assert wrong == {}
    assert result.history_violations == ()
    inapplicable = {c.id for c in result.clauses if c.verdict is Verdict.NOT_APPLICABLE}
    assert inapplicable == {"AUTH-3/audience", "AUTH-4/tenant", "GW-6", "GW-7"}


def test_every_clause_has_a_fault_that_it_finds() -> None:
    """A clause without a wrong implementation to fail proves nothing."""
    ids = {clause.id for clause in all_clauses()}
    assert ids - set(FAULTS.values()) - set(SIBLINGS) == UNTRIED
