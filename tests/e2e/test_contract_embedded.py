"""The clauses that only our own gateway can answer: they pass on it, and fail on a wrong one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from streamproof.contract import ContractOptions, run_contract
from streamproof.contract.session import Patience
from streamproof.results import Verdict
from streamproof.targets import Target, resolve
from streamproof.targets.http import Answer
from streamproof.targets.management import Management

CLAUSES = ("GW-3", "GW-6", "GW-7", "GW-8", "LIMIT-1", "AUTH-3/audience", "AUTH-4/tenant", "AUTH-8")


@pytest.fixture(scope="module")
def embedded() -> Iterator[Target]:
    """The embedded stack, started once."""
    with resolve("embedded") as target:
        yield target


def verdicts(target: Target, *names: str) -> dict[str, Verdict]:
    """How these clauses end on the stack."""
    found = run_contract(target, ContractOptions(clauses=names))
    assert found.history_violations == ()
    return {clause.id: clause.verdict for clause in found.clauses}


def test_the_stack_keeps_them(embedded) -> None:
    """Management, sizes, results that do not fit, and the variants with other settings."""
    found = verdicts(embedded, *CLAUSES)
    assert found == dict.fromkeys(sorted(found), Verdict.PASS)
    assert set(found) == set(CLAUSES)


def spoil(monkeypatch, change) -> None:
    """Let every answer of `@connections` pass through `change(method, answer)`."""
    right = Management.call

    async def call(self, method, connection_id, body=b"", **options) -> Answer:
        return change(method, await right(self, method, connection_id, body, **options))

    monkeypatch.setattr(Management, "call", call)


def gone_is_200(method: str, answer: Answer) -> Answer:
    """What moto does."""
    gone = method == "POST" and answer.status == 410
    return dataclasses.replace(answer, status=200) if gone else answer


def malformed_is_410(_: str, answer: Answer) -> Answer:
    """What emulators with ids of their own do."""
    return dataclasses.replace(answer, status=410) if answer.status == 400 else answer


def no_types(_: str, answer: Answer) -> Answer:
    """SDKs then raise no typed exception."""
    kept = {name: value for name, value in answer.headers.items() if "errortype" not in name}
    return dataclasses.replace(answer, headers=kept)


def unsigned_is_200(_: str, answer: Answer) -> Answer:
    """A gateway that checks no signature."""
    return dataclasses.replace(answer, status=200) if answer.status == 403 else answer


def text_for_info(method: str, answer: Answer) -> Answer:
    """A GET that tells nothing."""
    return dataclasses.replace(answer, body=b"ok") if method == "GET" else answer


@pytest.mark.parametrize(
    "change", [gone_is_200, malformed_is_410, no_types, unsigned_is_200, text_for_info]
)
def test_wrong_management_answers_are_found(embedded, monkeypatch, change) -> None:
    """GW-7 fails on each."""
    spoil(monkeypatch, change)
    assert verdicts(embedded, "GW-7") == {"GW-7": Verdict.FAIL}


def test_a_delete_that_deletes_nothing_is_found(embedded, monkeypatch) -> None:
    """GW-6 wants the client to see 1000."""

    async def call(self, method, connection_id, body=b"", **options) -> Answer:
        return Answer(204, {}, b"")

    monkeypatch.setattr(Management, "call", call)
    options = ContractOptions(clauses=("GW-6",), patience=Patience(0.5))
    assert run_contract(embedded, options).clauses[0].verdict is Verdict.FAIL


def test_settings_without_effect_are_found(embedded, monkeypatch) -> None:
    """A stack that ignores its audience or its list of tenants fails their clauses."""
    right = Target.variant
    monkeypatch.setattr(Target, "variant", lambda self, *_: right(self))
    found = verdicts(embedded, "AUTH-3/audience", "AUTH-4/tenant")
    assert set(found.values()) == {Verdict.FAIL}
