"""The mutants themselves: each is there for a rule, is refused by a test, and leaves no trace."""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import websockets

from streamproof.contract.rules import RULES
from streamproof.targets.embedded import Stack, StackOptions
from streamproof.targets.mutants import MUTANTS, VARIABLE, Patch, SeamError, planted
from streamproof.targets.state import prepare
from streamproof.targets.tokens import Identity, TokenMint
from support.mutant_kills import KILLS
from support.rules_page import PAGE, page

TESTS = Path(__file__).resolve().parent.parent
HARMED = ("streamer_reference", "streamproof.gateway", "jwt")


def _everything() -> dict[str, Any]:
    """What every module and class holds that a mutant could change, by name."""
    held: dict[str, Any] = {}
    for module_name, module in list(sys.modules.items()):
        if not module_name.startswith(HARMED):
            continue
        for name, value in list(vars(module).items()):
            held[f"{module_name}:{name}"] = value
            if isinstance(value, type) and value.__module__ == module_name:
                for member, inner in vars(value).items():
                    held[f"{module_name}:{name}.{member}"] = inner
                    defaults = getattr(inner, "__defaults__", None)
                    named = getattr(inner, "__kwdefaults__", None)
                    held[f"{module_name}:{name}.{member}()"] = (defaults, dict(named or {}))
    return held


@functools.cache
def _functions(file: Path) -> frozenset[str]:
    """The tests of a file, those of classes as `Class::test`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named = dict.fromkeys(tree.body, "") | {
        inner: f"{node.name}::"
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for inner in node.body
    }
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(of + node.name for node, of in named.items() if isinstance(node, kinds))


def test_every_rule_has_a_mutant_and_every_mutant_a_test():
    """Section by section, SHOULD rules too."""
    assert {rule for mutant in MUTANTS.values() for rule in mutant.rules} == set(RULES)
    assert set(KILLS) == set(MUTANTS)
    assert all(KILLS.values())
    assert all(mutant.sentence.endswith(".") for mutant in MUTANTS.values())


@pytest.mark.parametrize("name", KILLS)
def test_the_named_tests_exist(name):
    """A test that was renamed must be renamed here."""
    for test in KILLS[name]:
        file, _, function = test.partition("::")
        assert function in _functions(TESTS / file), test


def test_each_mutant_changes_something_and_leaves_nothing_behind():
    """Also the variable that tells the workers."""
    for module in {seam for name in MUTANTS for seam in (MUTANTS[name].plant.__module__,)}:
        importlib.import_module(module)
    for name in MUTANTS:  # what the first planting imports is there before the comparison
        with planted(name):
            pass
    before = _everything()
    for name in MUTANTS:
        with planted(name):
            assert os.environ[VARIABLE] == name
            assert _everything() != before, name
    assert _everything() == before
    assert VARIABLE not in os.environ


def test_the_variable_is_put_back(monkeypatch):
    """One mutant inside another ends with the outer one named."""
    monkeypatch.setenv(VARIABLE, "outer")
    with planted("any-origin"):
        assert os.environ[VARIABLE] == "any-origin"
    assert os.environ[VARIABLE] == "outer"
    with pytest.raises(KeyError), planted("no-such-mutant"):
        pass


@pytest.mark.parametrize(
    "seam",
    [
        "streamer_reference.no_such_module:f",
        "streamer_reference.router:no_such_function",
        "streamer_reference.router:LOOKS_AGAIN_S.gone",
    ],
)
def test_a_seam_that_is_gone_says_so(seam):
    """A mutant must follow the code, not outlive it."""
    with pytest.raises(SeamError, match="is not there"):
        Patch().value(seam, None)


def test_what_cannot_be_changed_says_so():
    """A constant is no function, a name may be taken, and a default must exist."""
    patch = Patch()
    with pytest.raises(SeamError, match="no function"):
        patch.around("streamer_reference.router:_COUNTED")
    with pytest.raises(SeamError, match="there already"):
        patch.add("streamer_reference.router:route", None)
    with pytest.raises(SeamError, match="no default"):
        patch.default("streamer_reference.settings:Settings", store="x")
    patch.undo()


def test_a_worker_that_is_not_of_the_embedded_stack_refuses(monkeypatch):
    """Nobody's real function runs a mutant by accident."""
    monkeypatch.setenv(VARIABLE, "any-origin")
    monkeypatch.setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")
    monkeypatch.setenv("STREAMER_MANAGEMENT_URL", "https://abc.execute-api.aws.test/prod")
    with pytest.raises(RuntimeError, match="embedded stack alone"):
        importlib.import_module("streamproof.targets.mutants.worker")


async def test_the_workers_of_the_embedded_stack_run_it_too(tmp_path):
    """A long request runs in a process of its own, and there as the user that it claims to be."""
    with planted("identity-from-metadata"):
        stack = Stack(prepare(tmp_path), StackOptions(workers=1))
        description = await stack.start()
        try:
            mint = TokenMint.read(
                Path(str(description.jwt_private_key)), description.issuer, description.audience
            )
            token = mint.mint(Identity("u", "t", ("probe",)))
            async with (
                asyncio.timeout(20),
                websockets.connect(f"{description.url}?Authorization={token}") as socket,
            ):
                ask = {"id": "r", "action": "probe.async", "payload": {"count_key": "k"}}
                await socket.send(json.dumps({**ask, "metadata": {"tenant_id": "other"}}))
                while json.loads(await socket.recv())["type"] != "complete":
                    pass
                await socket.send('{"action": "probe.count", "payload": {"key": "k"}}')
                assert json.loads(await socket.recv())["data"] == {"count": 0}
        finally:
            await stack.stop()


def test_the_page_of_rules_is_current():
    """`python tests/mutants/run.py --page` writes it."""
    assert PAGE.read_text(encoding="utf-8") == page()
