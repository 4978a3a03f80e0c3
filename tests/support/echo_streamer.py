"""A server that answers `echo` in Streamer's messages, as wrongly or slowly as it is told.

Prints a target's JSON line; run as a program: `cmd:python tests/support/echo_streamer.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from streamproof.load import echo_server


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
    parser.add_argument("--mute", action="store_true")
    parser.add_argument("--pid-file", type=Path)
    args = parser.parse_args()
    if args.pid_file is not None:
        args.pid_file.write_text(str(os.getpid()), encoding="ascii")
    echo_server.run(Streamer(args).answer)


if __name__ == "__main__":
    main()
