"""The command line of the contract, against the fake in another thread of this process."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from streamproof.cli import main
from support.fake_streamer import FakeStreamer


class Served:
    """A fake Streamer that serves from a thread for as long as the block lasts."""

    def __init__(self, folder, wrong: str = "") -> None:
        self.folder, self.wrong, self.word = folder, wrong, ""
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        async def body() -> None:
            async with FakeStreamer(self.wrong) as fake:
                self.word = fake.target(self.folder)
                self._ready.set()
                await self._done.wait()

        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(body())

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(10)
        return self.word

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)


def test_clauses_are_listed_and_explained(capsys) -> None:
    """Neither needs a target."""
    assert main(["contract", "--list", "--group", "requests"]) == 0
    assert "ASYNC-2/roles" in capsys.readouterr().out
    assert main(["contract", "--explain", "auth-3"]) == 0
    out = capsys.readouterr().out
    assert "why" in out
    assert "RFC 7519" in out
    assert main(["contract", "--explain", "NOPE-1"]) == 2


def test_a_run_leaves_its_files_and_says_what_it_found(tmp_path, capsys) -> None:
    """Exit 0, a line per clause, the report's path; results, history and pages in the folder."""
    out = tmp_path / "out"
    with Served(tmp_path) as word:
        code = main(["contract", "ROUTE-1", "MSG-2", "--target", word, "--out", str(out)])
    assert code == 0
    said = capsys.readouterr()
    assert "pass           ROUTE-1" in said.out
    assert "1/3" in said.err
    names = {path.name for path in out.iterdir()}
    assert {"results.json", "report.html", "junit.xml", "history.ndjson"} <= names
    results = json.loads((out / "results.json").read_text())
    assert len(results["contract"]["clauses"]) == 3
    assert "eyJ" not in (out / "results.json").read_text()


def test_a_broken_clause_is_exit_1(tmp_path, capsys, monkeypatch) -> None:
    """What was expected and seen stands under the clause; the folder is reports/RUN."""
    monkeypatch.chdir(tmp_path)
    with Served(tmp_path, "any case") as word:
        assert main(["contract", "ROUTE-1", "--target", word]) == 1
    said = capsys.readouterr().out
    assert "expected: INVALID_ACTION for Echo" in said
    assert (tmp_path / "reports" / "latest" / "report.html").exists()


def test_history_violations_are_told(tmp_path, capsys) -> None:
    """Also when no clause that ran is about them."""
    with Served(tmp_path, "a gap") as word:
        words = ["contract", "ROUTE-3", "PROG-3", "--target", word, "--out", str(tmp_path / "o")]
        assert main(words) == 1
    assert "history: MSG-4" in capsys.readouterr().out


def test_all_can_be_required(tmp_path, capsys) -> None:
    """A clause that is not applicable is 0 alone, and 3 when all are required; JSON is JSON."""
    words = ["contract", "GW-6", "GW-2", "--out", str(tmp_path / "out")]
    with Served(tmp_path) as word:
        assert main([*words, "--target", word]) == 0
        capsys.readouterr()
        assert main([*words, "--target", word, "--require-all"]) == 3
        assert "--require-all" in capsys.readouterr().err
        assert main([*words, "--target", word, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["contract"]["contract_version"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ["AUHT-1"],
        ["--group", "conection"],
        ["--target", "embeded"],
        ["--target", "wss://example.com/dev"],
        ["--target", "file:/no/such/folder"],
        ["--target", "ws://127.0.0.1:9/dev", "--jwt-key", "/no/such.pem"],
        ["--target", "ws://127.0.0.1:9/dev"],
        ["--out", "/dev/null/x"],
    ],
)
def test_wrong_words_are_one_line_and_exit_2(tmp_path, capsys, monkeypatch, words) -> None:
    """No traceback, a hint, nothing started."""
    monkeypatch.chdir(tmp_path)
    assert main(["contract", *words]) == 2
    said = capsys.readouterr().err
    assert "streamproof: " in said
    assert "Traceback" not in said
    assert list(tmp_path.glob("reports/*")) == []
