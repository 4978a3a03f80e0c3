"""A server that answers `echo` in Streamer's messages, as wrongly or slowly as it is told.

Prints a target's JSON line; run as a program: `cmd:python tests/support/echo_streamer.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from streamproof.load import echo_server

if TYPE_CHECKING:
    import asyncio


class Mortal(echo_server.EchoProtocol):
    """A connection of a server that may die: then it drops every one and shakes no more hands."""

    alive: ClassVar[set[Mortal]] = set()
    dead: ClassVar[bool] = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember it."""
        super().connection_made(transport)
        self.alive.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.alive.discard(self)

    def data_received(self, data: bytes) -> None:
        """The dead hear nothing."""
        if not Mortal.dead:
            super().data_received(data)

    @classmethod
    def die(cls) -> None:
        """Drop all connections; those to come stay unanswered."""
        Mortal.dead = True
        for each in tuple(cls.alive):
            if each._transport is not None:
                each._transport.abort()


class Streamer:
    """Answers echo requests; every option is one way to be slow or wrong."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Keep the options; the stalls are counted from here."""
        self.args = args
        self.began = time.monotonic()
        self.served = 0
        self.before: bytes | None = None

    def stall(self) -> None:
        """Hold the whole server for the last `stall_s` of each `stall_every_s`."""
        every, length = self.args.stall_every_s, self.args.stall_s
        if length:
            into = (time.monotonic() - self.began) % every
            if into > every - length:
                time.sleep(every - into)

    def fault(self) -> str:
        """Which fault this answer has: each in turn at every nth, most have none."""
        self.served += 1
        turn, left = divmod(self.served, self.args.every or self.served + 1)
        return (
            "" if left or not self.args.faults else self.args.faults[turn % len(self.args.faults)]
        )

    def answer(self, text: bytes) -> bytes | None:
        """One message, or nothing."""
        self.stall()
        if self.served == self.args.die_after:
            Mortal.die()
            return None
        request = json.loads(text)
        fault = self.fault()
        if fault == "drop":
            raise ConnectionAbortedError  # the loop closes the connection of a protocol that raises
        if self.args.mute or fault == "lose":
            return None
        if fault == "repeat" and self.before is not None:
            return self.before
        message: dict[str, Any] = {
            "type": "response",
            "request_id": request["id"],
            "sequence": 0,
            "timestamp": int(time.time() * 1000),
        }
        if fault in ("refuse", "fail"):
            code = "RATE_LIMITED" if fault == "refuse" else "TIMEOUT"
            retry = {"retryable": True, "after_ms": 100}
            message["type"] = "error"
            message["error"] = {"code": code, "message": "not now", "retry": retry}
        else:
            payload = {"nonce": "another"} if fault == "wrong" else request["payload"]
            message |= {"success": True, "data": {"echo": payload}}
        reply = json.dumps(message).encode()
        if not fault:
            self.before = reply
        return b"{not JSON" if fault == "garble" else reply


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stall-every-s", type=float, default=8.0)
    parser.add_argument("--stall-s", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=0)
    parser.add_argument("--faults", nargs="*", default=[])
    parser.add_argument("--die-after", type=int, default=-1)
    parser.add_argument("--mute", action="store_true")
    parser.add_argument("--pid-file", type=Path)
    args = parser.parse_args()
    if args.pid_file is not None:
        args.pid_file.write_text(str(os.getpid()), encoding="ascii")
    echo_server.run(Streamer(args).answer, Mortal)


if __name__ == "__main__":
    main()
