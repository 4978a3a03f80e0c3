"""Runs the clauses as tests: `pytest --pyargs streamproof.contract --target ws://...`.

Loaded in every project that has streamproof installed, so it imports nothing heavy and does
nothing until a test asks for `streamproof_clause`. The clauses of a session run side by side, once,
before the first of their tests reports. What the history of the whole run shows fails the session
after the last of them, whichever clauses were asked for.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamproof.results import ClauseResult

FIXTURE = "streamproof_clause"
VIOLATIONS_SHOWN = 20
_OPTIONS = (
    ("--target", "embedded", "what is judged: embedded, ws://.., file:DIR/target.json, cmd:.."),
    ("--target-token", None, "one token that the target accepts"),
    ("--target-token-command", None, "a program that prints one"),
    ("--target-jwt-key", None, "PEM file of the key to make tokens with"),
    ("--target-issuer", None, "`iss` of these tokens"),
    ("--target-audience", None, "`aud` of these tokens"),
    ("--target-environment", None, "dev, test or staging, for a target that is not this machine"),
    ("--i-accept-load-on", None, "the host of a production target, as on the command line"),
)
_TENANTS = "--target-tenant"


def _name(option: str) -> str:
    """Where an option is kept: no other plugin uses these names."""
    return "streamproof_" + option.removeprefix("--").replace("-", "_")


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Iterator[None]:
    """Declare the options last: an option that a project's own conftest has taken stays its own."""
    yield
    group = parser.getgroup("streamproof", "streamproof: the contract against a target")
    for option, default, help_text in _OPTIONS:
        with contextlib.suppress(ValueError, argparse.ArgumentError):
            group.addoption(option, dest=_name(option), default=default, help=help_text)
    with contextlib.suppress(ValueError, argparse.ArgumentError):
        group.addoption(
            _TENANTS,
            action="append",
            dest=_name(_TENANTS),
            default=[],
            help="a tenant that clauses may use, where not every one is allowed; may be repeated",
        )
    group.addoption(
        "--clause-strict",
        action="store_true",
        dest="streamproof_strict",
        help="a missed SHOULD fails its test",
    )
    group.addoption(
        "--clause-seed",
        type=int,
        default=1,
        dest="streamproof_seed",
        metavar="N",
        help="of what clauses draw",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per clause for a test that asks for one."""
    if FIXTURE not in metafunc.fixturenames:
        return
    from streamproof.contract.registry import all_clauses  # noqa: PLC0415 - only when asked

    ids = [clause.id for clause in all_clauses()]
    metafunc.parametrize(FIXTURE, ids, indirect=True, ids=ids)


@pytest.fixture(scope="session")
def streamproof_results(request: pytest.FixtureRequest) -> Iterator[Mapping[str, ClauseResult]]:
    """The results of every clause whose test is in this session, by id.

    Its end is an error of the session when the run's history breaks a rule.
    """
    from streamproof import targets  # noqa: PLC0415 - only when asked
    from streamproof.contract import ContractOptions, run_contract  # noqa: PLC0415 - likewise
    from streamproof.errors import StreamproofError  # noqa: PLC0415 - likewise

    config = request.config
    names = [_name(option) for option, *_ in _OPTIONS]
    given = {name: config.getoption(name, None) for name in names}
    items: list[Any] = list(request.session.items)  # a parametrized one has a callspec
    params = [item.callspec.params for item in items if hasattr(item, "callspec")]
    wanted = {found[FIXTURE] for found in params if FIXTURE in found}
    key = given["streamproof_target_jwt_key"]
    options = targets.TargetOptions(
        token=given["streamproof_target_token"],
        token_command=given["streamproof_target_token_command"],
        jwt_key=Path(key) if key else None,
        issuer=given["streamproof_target_issuer"],
        audience=given["streamproof_target_audience"],
        environment=given["streamproof_target_environment"],
        accept_load_on=given["streamproof_i_accept_load_on"],
        tenants=tuple(config.getoption(_name(_TENANTS), None) or ()),
    )
    asked = ContractOptions(
        clauses=tuple(sorted(wanted)),
        seed=config.getoption("streamproof_seed"),
        strict=config.getoption("streamproof_strict"),
    )
    try:
        with targets.resolve(given["streamproof_target"] or "embedded", options) as target:
            found = run_contract(target, asked)
    except StreamproofError as error:
        pytest.exit(f"streamproof: {error.message}\n  {error.hint}", returncode=error.exit_code)
    yield {clause.id: clause for clause in found.clauses}
    if found.history_violations:
        count = len(found.history_violations)
        lines = [f"the history of the run breaks the contract, {count} in all:"]
        lines += found.history_violations[:VIOLATIONS_SHOWN]
        pytest.fail("\n".join(lines), pytrace=False)


@pytest.fixture
def streamproof_clause(
    request: pytest.FixtureRequest, streamproof_results: Mapping[str, ClauseResult]
) -> ClauseResult:
    """The result of the clause that this test is about."""
    return streamproof_results[request.param]


def explain(result: ClauseResult, strict: bool) -> tuple[str, str]:
    """How a result ends a test (`passed`, `skipped` or `failed`) and what it says."""
    from streamproof.results import Verdict  # noqa: PLC0415 - only when asked

    log = "\n".join(f"{x.at_ms:9.1f} ms {x.lane} {x.direction} {x.text}" for x in result.log[-40:])
    told = f"{result.id}: {result.sentence}\nexpected: {result.expected}\nsaw: {result.seen}"
    match result.verdict:
        case Verdict.PASS | Verdict.INFO:
            return "passed", ""
        case Verdict.NON_STRICT if not strict:
            return "passed", ""
        case Verdict.NOT_APPLICABLE:
            return "skipped", f"{result.verdict}: {result.reason}"
        case Verdict.INCONCLUSIVE:
            return "failed", f"{result.id}: {result.verdict}: {result.reason}"
        case Verdict.ERROR:
            return "failed", f"{result.id}: the harness broke: {result.reason}"
        case _:
            return "failed", f"{told}\n{log}"


def conclude(result: ClauseResult, config: Any) -> None:
    """End the running test as the clause ended."""
    outcome, text = explain(result, config.getoption("streamproof_strict"))
    if outcome == "skipped":
        pytest.skip(text)
    if outcome == "failed":
        pytest.fail(text, pytrace=False)
