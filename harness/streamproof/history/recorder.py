"""A run's history on disk: newline-delimited JSON, a header, events on one clock, a footer.

A file without its footer is of a run that did not end: its verdict is unknown. Tokens and what
signs a URL are never written; a body beyond `BODY_BYTES_MAX` is cut, and what the checker needs of
it is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TextIO

from streamproof.errors import UsageError
from streamproof.history.checker import HistoryChecker, Violation

SCHEMA = "streamproof.history/1"
BODY_BYTES_MAX = 4096
PRIVATE = 0o600
LINE_BYTES_MAX = 64 * 1024
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?")
# Of a presigned URL; its `=` is an escape where the URL stands inside another one.
_SIGNED = re.compile(
    r"(X-Amz-(?:Signature|Security-Token|Credential)(?:=|%3D))[^&\s\"'\\<>#]+", re.IGNORECASE
)
_ENVELOPE = ("type", "request_id", "sequence", "timestamp", "percentage", "success", "error")


def without_tokens(text: str) -> str:
    """The text without what opens a door: whatever looks like a JWT, or signs a URL."""
    return _SIGNED.sub(r"\1<secret>", _TOKEN.sub("<token>", text))


class Recorder:
    """Writes one history; `clock` gives seconds since the run began, never backwards."""

    def __init__(self, file: TextIO | None, clock: Callable[[], float], header: Any) -> None:
        self._file = file
        self._clock = clock
        self.event_count = 0
        self._write({"kind": "header", "schema": SCHEMA, **header})

    @classmethod
    def open(cls, path: Path | None, clock: Callable[[], float], **header: Any) -> Recorder:
        """Record to a file for its owner alone, or nowhere when `path` is None.

        `UsageError` when it cannot be made.
        """
        if path is None:
            return cls(None, clock, header)
        try:
            path.touch(mode=PRIVATE)
            path.chmod(PRIVATE)  # one that was there before keeps its mode otherwise
            return cls(path.open("w", encoding="utf-8"), clock, header)
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror or error}", "choose a folder with --out"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write({"kind": "footer", "events": self.event_count, "at_s": self._clock()})
        if self._file is not None:
            self._file.close()

    def opened(self, connection: str, user: str) -> None:
        """A connection completed its handshake as `user` (a label, no token)."""
        self._event("open", connection, user=user)

    def closed(self, connection: str, code: int | None) -> None:
        """A connection ended with this close code."""
        self._event("close", connection, code=code)

    def sent(
        self, connection: str, text: str, request_id: str | None, subscribes_to: str | None
    ) -> None:
        """A message goes out."""
        extra = {"subscribes_to": subscribes_to} if subscribes_to is not None else {}
        self._event("sent", connection, request_id=request_id, **extra, **_body(text, None))

    def received(self, connection: str, text: str, message: Any) -> None:
        """A message came in; `message` is `text` parsed, or None when it is no JSON."""
        self._event("received", connection, **_body(text, message))

    def fault(self, name: str, what: str) -> None:
        """A nemesis did something, or undid it."""
        self._event("fault", "", fault=name, what=what)

    def _event(self, kind: str, connection: str, **members: Any) -> None:
        self.event_count += 1
        at_s = round(self._clock(), 6)
        self._write({"kind": kind, "at_s": at_s, "connection": connection, **members})

    def _write(self, event: Mapping[str, Any]) -> None:
        if self._file is not None:
            line = json.dumps(event, ensure_ascii=True, default=str)
            self._file.write(without_tokens(line) + "\n")


def _body(text: str, message: Any) -> dict[str, Any]:
    clean = without_tokens(text)
    size = len(clean)
    if size <= BODY_BYTES_MAX and clean == text:
        return {"text": text}
    # What is taken out or cut still tells two contents of one number apart.
    digest = {"digest": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()}
    if size <= BODY_BYTES_MAX:
        return {"text": clean, **digest}
    body: dict[str, Any] = {"text": clean[:256], "characters": size, **digest}
    if isinstance(message, Mapping):
        envelope = {name: message[name] for name in _ENVELOPE if name in message}
        # Which of them a long message had is enough for the checker; the body is not kept.
        envelope |= {name: None for name in ("data", "result", "result_url") if name in message}
        body["envelope"] = envelope
    return body


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a history, header and footer included; `UsageError` for any other file."""
    hint = "give a history.ndjson that this version of streamproof wrote"
    try:
        with path.open(encoding="utf-8") as file:
            first = True
            while line := file.readline(LINE_BYTES_MAX):
                event = json.loads(line)
                if first and event.get("schema") != SCHEMA:
                    raise UsageError(f"{path} is no history of {SCHEMA}", hint)
                first = False
                yield event
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", hint) from error
    except (ValueError, AttributeError) as error:
        raise UsageError(f"{path} is no history: {error}", hint) from error


def check(events: Iterable[Mapping[str, Any]]) -> list[Violation]:
    """Judge a recorded history; without a footer, what never came is not held against it."""
    checker = HistoryChecker()
    ended = False
    for event in events:
        connection = event.get("connection", "")
        match event["kind"]:
            case "header":
                checker.faults = bool(event.get("faults"))
            case "open":
                checker.opened(connection, user=event["user"])
            case "close":
                checker.closed(connection)
            case "sent":
                checker.sent(
                    connection, event["request_id"], subscribes_to=event.get("subscribes_to")
                )
            case "received":
                text = event.get("digest", event["text"])
                checker.observe(connection, _message_of(event), event["at_s"], text=text)
            case "footer":
                ended = True
    return checker.finish() if ended else checker.violations


def _message_of(event: Mapping[str, Any]) -> Any:
    if "envelope" in event:
        return event["envelope"]
    try:
        return json.loads(event["text"])
    except ValueError:
        return None
