"""From a word on the command line to a target that can be opened.

`embedded` starts the reference behind our gateway in a process of its own; `ws://` and `wss://`
are somebody's running system; `file:` and `cmd:` give a target.json, written or printed.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import shutil
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from streamproof.errors import UsageError
from streamproof.runs import shown_word
from streamproof.targets import safety
from streamproof.targets.base import (
    DESCRIPTION_BYTES_MAX,
    Capability,
    Description,
    TargetOptions,
)
from streamproof.targets.management import Management
from streamproof.targets.process import STOP_TIMEOUT_S, Child
from streamproof.targets.tokens import FixedToken, TokenCommand, TokenMint, TokenSource

KINDS_HINT = "a target is embedded, ws://.., wss://.., file:DIR/target.json or cmd:PROGRAM .."

THROWN_AWAY_S = 2.0  # how long a stack of ours that nobody will see again may take to stop


class Target:
    """A target by name; entering it starts what must be started and fills in the rest.

    `description`, `tokens`, `mint`, `management`, `clearance` and `capabilities` are there only
    inside the `with` block. `capabilities` is what the words promise; the probe pack is found out
    by asking (`contract.discovery`), except on `embedded`, where it is known.
    """

    description: Description
    tokens: TokenSource | None
    mint: TokenMint | None
    management: Management | None
    clearance: safety.Clearance
    capabilities: frozenset[Capability]

    def __init__(self, word: str, kind: str, options: TargetOptions) -> None:
        """Use `resolve`, which checks the word."""
        self.name = shown_word(word)
        self.kind = kind
        self.options = options
        self._word = word
        self._child: Child | None = None
        self._folder: Path | None = None

    @property
    def url(self) -> str:
        """Where its WebSocket is, without any token."""
        return self.description.url

    @functools.cached_property
    def tls(self) -> ssl.SSLContext | None:
        """What its `wss` is opened with, None where it is `ws`."""
        return self.description.tls() if self.url.startswith("wss:") else None

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine."""
        return self.clearance.loopback

    @property
    def membership_lag_s(self) -> float:
        """How long after a handshake a connection may be missing from a broadcast (BCAST-1)."""
        return 0.0 if self.kind == "embedded" else 1.0

    @property
    def last_words(self) -> tuple[str, ...]:
        """What the started program last said on standard error; empty for others."""
        return self._child.errors if self._child is not None else ()

    def __enter__(self) -> Self:
        try:
            self.description = self._describe()
            self._equip()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what was started and remove its folder; safe to call twice."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def variant(self, *serve_arguments: str) -> Target:
        """The same system with other settings, not yet entered; only where it can be started."""
        if self.kind != "embedded":
            raise UsageError(f"{self.name} cannot be started again with other settings")
        return Target(
            self._word,
            self.kind,
            dataclasses.replace(self.options, serve_arguments=serve_arguments),
        )

    def summary(self) -> dict[str, object]:
        """What a report may say about it: no secrets."""
        return {
            "name": self.name,
            "url": self.url,
            "environment": self.clearance.environment or "local",
            "capabilities": sorted(self.capabilities),
        }

    def _describe(self) -> Description:
        match self.kind:
            case "embedded":
                self._folder = Path(tempfile.mkdtemp(prefix="streamproof-"))
                command = [sys.executable, "-m", "streamproof.cli", "serve", "--reference"]
                command += ["--state", str(self._folder), *self.options.serve_arguments]
                # Its state is thrown away, so there is nothing to hand back in order.
                return self._start(command, "the embedded stack", patience_s=THROWN_AWAY_S)
            case "cmd":
                return self._start(_words(self._word.removeprefix("cmd:")), self.name)
            case "file":
                return _read_file(Path(self._word.removeprefix("file:")))
            case _:
                return Description(
                    self._word, issuer=self.options.issuer, audience=self.options.audience
                )

    def _start(
        self, command: list[str], name: str, patience_s: float = STOP_TIMEOUT_S
    ) -> Description:
        self._child = Child(
            command, name, timeout_s=self.options.start_timeout_s, patience_s=patience_s
        )
        return Description.from_json(self._child.first_line, f"the first line of {name}")

    def _equip(self) -> None:
        description, options = self.description, self.options
        check_url(description.url)
        urls = [description.url]
        if description.management_url is not None:
            urls.append(description.management_url)
        self.clearance = safety.clear(
            tuple(urls), options.environment or description.environment, options.accept_load_on
        )
        self.mint = self._read_mint()
        self.tokens = self.mint
        if options.token is not None:
            self.tokens = FixedToken(options.token)
        elif options.token_command is not None:
            self.tokens = TokenCommand(options.token_command)
        self.management = Management.of(description)
        found = {Capability.WIRE}
        if self.tokens is not None:
            found.add(Capability.TOKEN)
        if self.mint is not None:
            found.add(Capability.MINT)
        if self.management is not None:
            found.add(Capability.MANAGEMENT)
        if self.loopback:
            found.add(Capability.CRASH)
        if self.kind == "embedded":
            found |= {Capability.VARIANT, Capability.PROBE}
        self.capabilities = frozenset(found)

    def _read_mint(self) -> TokenMint | None:
        options, description = self.options, self.description
        path = options.jwt_key or (
            Path(description.jwt_private_key) if description.jwt_private_key else None
        )
        if path is None:
            return None
        issuer = options.issuer or description.issuer
        return TokenMint.read(path, issuer, options.audience or description.audience)


def resolve(text: str, options: TargetOptions | None = None) -> Target:
    """The target that a word names, not yet started: `with resolve("embedded") as target: ..`.

    `UsageError` for a word that names none, at once; whatever else is wrong is found on entering.
    """
    options = options or TargetOptions()
    if sum(given is not None for given in (options.token, options.token_command)) > 1:
        raise UsageError("a token and a token command exclude each other", "give one of them")
    if text == "embedded":
        return Target(text, "embedded", options)
    kind, colon, rest = text.partition(":")
    if colon and rest and kind in ("file", "cmd"):
        return Target(text, kind, options)
    if text.startswith(("ws://", "wss://")):
        check_url(text)
        return Target(text, "url", options)
    raise UsageError(f"no such target: {text!r}", KINDS_HINT)


def check_url(url: str) -> None:
    """`UsageError` unless it is ws or wss with a host, and without user, query or fragment."""
    try:
        parts = urlsplit(url)
        port_ok = parts.port != 0
    except ValueError as error:
        raise UsageError(f"{url!r} is no WebSocket URL: {error}", KINDS_HINT) from error
    if parts.scheme not in ("ws", "wss") or not parts.hostname or not port_ok:
        raise UsageError(f"{url!r} is no WebSocket URL", KINDS_HINT)
    if parts.username or parts.query or parts.fragment:
        raise UsageError(
            "the target's URL carries a user or a query", "give tokens with --token or --jwt-key"
        )


def _words(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"cmd:{text} is no command: {error}", KINDS_HINT) from error
    if not words:
        raise UsageError("cmd: names no program", KINDS_HINT)
    return words


def _read_file(path: Path) -> Description:
    if path.is_dir():
        path = path / "target.json"
    try:
        with path.open("rb") as file:
            data = file.read(DESCRIPTION_BYTES_MAX)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror or error}",
            "is the stack running? `streamproof serve --state DIR` writes DIR/target.json",
        ) from error
    return Description.from_json(data.decode("utf-8", "replace"), str(path))
