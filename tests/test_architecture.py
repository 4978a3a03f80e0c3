"""The directions of imports, and what the pure core may know: held by reading the imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.code_lines import code_lines

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "reference" / "streamer_reference"
HARNESS = ROOT / "harness" / "streamproof"

IMPURE = {
    "aiohttp",
    "asyncio",
    "boto3",
    "botocore",
    "datetime",
    "random",
    "secrets",
    "socket",
    "threading",
    "time",
    "uuid",
    "websockets",
}
# Lines of code: what teams copy and read must not grow by habit. These only ever go down.
LINES_MAX = {REFERENCE: 4_720, HARNESS / "gateway": 3_140}
LAYERS = {
    "protocol": {"protocol"},
    "core": {"protocol", "core"},
    "store": {"protocol", "core", "store", "clock"},
    "connection": {"protocol", "core", "store", "connection", "clock", "sigv4"},
}


def imports(path: Path) -> Iterator[str]:
    """The dotted names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files(folder: Path) -> list[Path]:
    """The Python files of a folder, at least one."""
    found = sorted(folder.rglob("*.py"))
    assert found, f"{folder} holds nothing to check"
    return found


@pytest.mark.parametrize("path", files(REFERENCE / "core"), ids=lambda path: path.stem)
def test_the_core_knows_no_time_no_chance_and_no_network(path: Path) -> None:
    """Core modules take what varies as arguments."""
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@pytest.mark.parametrize(("layer", "allowed"), LAYERS.items())
def test_layers_of_the_reference_import_downwards(layer: str, allowed: set[str]) -> None:
    """A lower layer never imports a higher one."""
    for path in files(REFERENCE / layer):
        ours = {
            name.split(".")[1]
            for name in imports(path)
            if name.startswith("streamer_reference.") and len(name.split(".")) > 1
        }
        assert ours <= allowed, f"{path} imports {ours - allowed}"


@pytest.mark.parametrize(("folder", "most"), LINES_MAX.items(), ids=lambda value: str(value)[-9:])
def test_what_is_copied_and_read_stays_compact(folder: Path, most: int) -> None:
    """Without blank lines, comments and docstrings, which are worth having."""
    assert most - 300 < code_lines(folder) <= most


def test_only_the_targets_of_the_reference_import_it() -> None:
    """The harness judges it as any other system; the mutants are wrong versions of it."""
    guilty = {
        str(path.relative_to(HARNESS))
        for path in files(HARNESS)
        if any(name.split(".")[0] == "streamer_reference" for name in imports(path))
    }
    others = {name for name in guilty if not name.startswith("targets/mutants/")}
    assert others <= {"targets/embedded.py", "targets/simulated.py"}


def test_the_reference_does_not_know_the_harness() -> None:
    """A team copies the reference alone."""
    for path in files(REFERENCE):
        assert not any(name.split(".")[0] == "streamproof" for name in imports(path)), path


def test_scenarios_do_not_import_the_reference() -> None:
    """A scenario runs against any system."""
    for path in files(ROOT / "scenarios"):
        assert not any(name.split(".")[0] == "streamer_reference" for name in imports(path)), path


def test_the_paths_that_the_architecture_names_are_there() -> None:
    """A table that points to what was moved sends a reader nowhere."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(
        re.findall(r"`((?:reference|harness|scenarios|reports|tests|docs)/[\w./-]*)`", text)
    )
    named |= set(re.findall(r"\]\((?!https?:)([^)#]+)\)", text))
    assert len(named) > 20
    assert not {path for path in named if not (ROOT / path).exists()}
