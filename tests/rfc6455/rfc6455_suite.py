"""Run Autobahn|Testsuite against `serve --raw-echo` and, beside it, a plain websockets server.

    python tests/rfc6455/rfc6455_suite.py            installs into a temporary folder, one minute
    python tests/rfc6455/rfc6455_suite.py --help

`wstest` exits with 0 whatever it found, so the verdict is read from its index: exit 1 when a case
ended worse here than with websockets. The suite runs on Python 2.7 only.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

from streamproof.terminal import note, say

SUITE = "autobahntestsuite==25.10.1"
VIRTUALENV = "virtualenv<20.22"  # the last that makes environments for Python 2.7
LEFT_OUT = ["9.*", "12.*", "13.*"]  # speed, and compression, which API Gateway does not offer
OURS, THEIRS = "streamproof", "websockets"
RANKS = ("OK", "INFORMATIONAL", "NON-STRICT", "UNIMPLEMENTED", "UNCLEAN", "WRONG CODE", "FAILED")
SUITE_S_MAX = 900
MESSAGE_BYTES_MAX = 64 << 20

Index = dict[str, dict[str, dict[str, str]]]


def main() -> int:
    """0 no case is worse, 1 some are, 2 the suite could not be run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python2", metavar="FILE", help="an interpreter of Python 2.7")
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep the suite's report here")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write the judged table here")
    args = parser.parse_args()
    python2 = args.python2 or find_python2()
    if python2 is None:
        note("no Python 2.7 was found: name one with --python2")
        return 2
    with tempfile.TemporaryDirectory(prefix="rfc6455-") as name:
        folder = Path(name)
        try:
            index = run_suite(install(folder, python2), folder, args.out or folder / "report")
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            note(f"the suite could not be run: {error}")
            return 2
    table, worse = judge(index)
    say(table)
    if args.table is not None:
        args.table.write_text(table + "\n", encoding="utf-8")
    return 1 if worse else 0


def find_python2() -> str | None:
    """Look for Python 2.7 on the path and among pyenv's; a shim of pyenv's need not run."""
    found = [shutil.which("python2.7")]
    found += sorted(map(str, Path.home().glob(".pyenv/versions/2.7*/bin/python2.7")))
    for each in filter(None, found):
        if subprocess.run([each, "--version"], check=False, capture_output=True).returncode == 0:
            return each
    return None


def install(folder: Path, python2: str) -> Path:
    """Make the suite's environment in `folder` and return its program."""
    helper, home = folder / "helper", folder / "suite"
    for command in (
        [sys.executable, "-m", "venv", str(helper)],
        [str(helper / "bin/python"), "-m", "pip", "install", "--quiet", VIRTUALENV],
        [str(helper / "bin/python"), "-m", "virtualenv", "--quiet", "-p", python2, str(home)],
        [str(home / "bin/python"), "-m", "pip", "install", "--quiet", SUITE],
    ):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise OSError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return home / "bin/wstest"


def run_suite(program: Path, folder: Path, out: Path) -> Index:
    """Run every case against both servers; the suite's own index of verdicts."""
    with ExitStack() as stack:
        urls = {name: stack.enter_context(server(name, folder)) for name in (OURS, THEIRS)}
        plan = {
            "outdir": str(out.resolve()),
            "servers": [{"agent": name, "url": url} for name, url in urls.items()],
            "cases": ["*"],
            "exclude-cases": LEFT_OUT,
            "exclude-agent-cases": {},
        }
        (folder / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
        subprocess.run(
            [str(program), "-m", "fuzzingclient", "-s", str(folder / "plan.json")],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=SUITE_S_MAX,
            cwd=folder,
        )
    index: Index = json.loads((out / "index.json").read_text(encoding="utf-8"))
    return index


@contextmanager
def server(name: str, folder: Path) -> Iterator[str]:
    """Start a server of our own or of websockets; its URL."""
    start = "import sys; from streamproof.cli import main; sys.exit(main())"
    ours = [sys.executable, "-c", start, "serve", "--raw-echo", "--state", str(folder / "state")]
    theirs = [sys.executable, __file__, "--serve-websockets"]
    command = ours if name == OURS else theirs
    # Each broken frame makes websockets write a trace.
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


async def serve_websockets() -> None:
    """Echo with websockets' own server until the process is ended."""

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    size = MESSAGE_BYTES_MAX
    async with serve(echo, "127.0.0.1", 0, compression=None, max_size=size) as running:
        port = next(iter(running.sockets)).getsockname()[1]
        say(json.dumps({"url": f"ws://127.0.0.1:{port}"}))
        sys.stdout.flush()
        await running.wait_closed()


def judge(index: Index) -> tuple[str, list[str]]:
    """Return the table of what differs from OK, and the cases that are worse here."""
    ours, theirs = index[OURS], index[THEIRS]
    lines = ["| verdict | streamproof | websockets |", "|---|---|---|"]
    counts = {name: collections.Counter(map(verdict, index[name].values())) for name in index}
    lines += [
        f"| {each} | {counts[OURS][each]} | {counts[THEIRS][each]} |"
        for each in RANKS
        if any(counts[name][each] for name in counts)
    ]
    lines += ["", "| case that is not OK | streamproof | websockets |", "|---|---|---|"]
    worse = sorted(set(theirs) - set(ours))
    for case in sorted(ours, key=lambda case: [int(part) for part in case.split(".")]):
        pair = verdict(ours[case]), verdict(theirs[case])
        if pair != ("OK", "OK"):
            lines.append(f"| {case} | {pair[0]} | {pair[1]} |")
        if RANKS.index(pair[0]) > RANKS.index(pair[1]):
            worse.append(case)
    lines += ["", f"{len(ours)} cases, worse than websockets: {', '.join(worse) or 'none'}."]
    return "\n".join(lines), worse


def verdict(case: dict[str, str]) -> str:
    """The worse of a case's two verdicts: what it sent, and how it closed."""
    return max(case["behavior"], case["behaviorClose"], key=RANKS.index)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve-websockets"]:
        asyncio.run(serve_websockets())
        sys.exit(0)
    sys.exit(main())
