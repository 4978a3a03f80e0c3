"""The clauses as tests of anybody's project."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import metadata

import pytest

from streamproof.pytest_plugin import explain
from streamproof.results import ClauseResult, Level, Verdict
from support.fake_streamer import FakeStreamer


def result(verdict: Verdict) -> ClauseResult:
    """A clause that ended so."""
    texts = {"sentence": "s", "why": "w", "origin": "o", "expected": "e", "seen": "x"}
    return ClauseResult("MSG-1", 2, "streamer", Level.MUST, verdict=verdict, reason="r", **texts)


@pytest.mark.parametrize(
    ("verdict", "strict", "outcome"),
    [
        (Verdict.PASS, False, "passed"),
        (Verdict.INFO, True, "passed"),
        (Verdict.NON_STRICT, False, "passed"),
        (Verdict.NON_STRICT, True, "failed"),
        (Verdict.NOT_APPLICABLE, False, "skipped"),
        (Verdict.INCONCLUSIVE, False, "failed"),
        (Verdict.ERROR, False, "failed"),
        (Verdict.FAIL, False, "failed"),
    ],
)
def test_verdicts_become_outcomes(verdict, strict, outcome) -> None:
    """What does not apply is skipped, what was left undecided fails: neither is ever green."""
    assert explain(result(verdict), strict)[0] == outcome


async def run_pytest(*words: str) -> tuple[int, str]:
    """Run pytest as a user would; its exit code and output."""
    names = {entry.name for entry in metadata.entry_points(group="pytest11")}
    plugin = () if "streamproof" in names else ("-p", "streamproof.pytest_plugin")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *plugin, *words]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/"
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_each_clause_is_a_test(tmp_path) -> None:
    """The right fake passes, a wrong one fails with what was expected and the wire log."""
    words = ("--pyargs", "streamproof.contract", "-k", "ROUTE-1 or GW-6", "--target")
    async with FakeStreamer() as fake:
        code, out = await run_pytest(*words, fake.target(tmp_path))
    assert code == 0, out
    assert "1 passed, 1 skipped" in out
    async with FakeStreamer("any case") as fake:
        code, out = await run_pytest(*words, fake.target(tmp_path))
    assert code == 1, out
    assert "expected: INVALID_ACTION for Echo" in out
    assert " ms c1 < " in out


async def test_the_history_of_the_run_fails_the_session(tmp_path) -> None:
    """Its violations are told though every clause that was asked for has passed."""
    words = ("--pyargs", "streamproof.contract", "-k", "PROG-4", "--target")
    async with FakeStreamer("a gap") as fake:
        code, out = await run_pytest(*words, fake.target(tmp_path))
    assert code == 1, out
    assert "1 passed" in out
    assert "1 error" in out
    assert "MSG-4 on PROG-4#c1" in out


async def test_production_and_tenants_are_asked_for_as_on_the_command_line(tmp_path) -> None:
    """Production is refused unless its host is repeated, and only tenants named are used."""
    words = ("--pyargs", "streamproof.contract", "--target-environment", "production")
    async with FakeStreamer() as fake:
        words = (*words, "--target", fake.target(tmp_path), "-k", "AUTH-4")
        code, out = await run_pytest(*words)
        assert code == 2, out
        assert "--i-accept-load-on 127.0.0.1" in out
        code, out = await run_pytest(
            *words, "--i-accept-load-on", "127.0.0.1", "--target-tenant", "only"
        )
    assert code == 1, out
    assert "403" in out


async def test_a_wrong_word_ends_the_session(tmp_path) -> None:
    """One line and exit 2, as on the command line."""
    code, out = await run_pytest("--pyargs", "streamproof.contract", "--target", "embeded")
    assert code == 2
    assert "no such target: 'embeded'" in out


async def test_other_projects_notice_nothing(tmp_path) -> None:
    """A project whose own conftest has `--target` keeps it, and nothing heavy is imported."""
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--target', dest='theirs')\n"
    )
    (tmp_path / "test_own.py").write_text(
        "import sys\n"
        "def test_light(request):\n"
        "    assert request.config.getoption('theirs') == 'x'\n"
        "    heavy = {'websockets', 'jwt', 'cryptography', 'streamproof.contract'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    words = (str(tmp_path), "--rootdir", str(tmp_path), "--target", "x")
    code, out = await run_pytest(*words)
    assert code == 0, out
