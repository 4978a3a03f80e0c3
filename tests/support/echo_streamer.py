"""A server that answers `echo` in Streamer's messages, as wrongly or slowly as it is told.

Prints a target's JSON line; run as a program: `cmd:python tests/support/echo_streamer.py`.
"""

from __future__ import annotations

import argparse
import json
import time

from streamproof.load import echo_server


class Streamer:
    """Answers echo requests; every option is one way to be slow or wrong."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Keep the options; the stalls are counted from here."""
        self.args = args
        self.began = time.monotonic()
        self.served = 0

    def stall(self) -> None:
        """Hold the whole server for the last `stall_s` of each `stall_every_s`."""
        every, length = self.args.stall_every_s, self.args.stall_s
        if length:
            into = (time.monotonic() - self.began) % every
            if into > every - length:
                time.sleep(every - into)

    def answer(self, text: bytes) -> bytes | None:
        """One response, spoiled every nth time."""
        self.stall()
        request = json.loads(text)
        self.served += 1
        spoil = self.args.every and self.served % self.args.every == 0
        if self.args.mute or (spoil and self.args.fault == "lose"):
            return None
        message = {
            "type": "response",
            "request_id": request["id"],
            "sequence": 0,
            "timestamp": int(time.time() * 1000),
            "success": True,
            "data": {"echo": request["payload"]},
        }
        if spoil and self.args.fault == "wrong":
            message["data"] = {"echo": {"nonce": "another"}}
        if spoil and self.args.fault == "refuse":
            message |= {"type": "error"}
            del message["data"], message["success"]
            message["error"] = {
                "code": "RATE_LIMITED",
                "message": "slow down",
                "retry": {"retryable": True, "after_ms": 100},
            }
        return json.dumps(message).encode()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stall-every-s", type=float, default=8.0)
    parser.add_argument("--stall-s", type=float, default=0.0)
    parser.add_argument("--every", type=int, default=0)
    parser.add_argument("--fault", choices=("lose", "wrong", "refuse"), default="lose")
    parser.add_argument("--mute", action="store_true")
    echo_server.run(Streamer(parser.parse_args()).answer)


if __name__ == "__main__":
    main()
