"""What a target is: something that answers on a WebSocket, and what it lets the suite do.

Values only. Starting processes is in `process`, reading words into targets in `resolve`.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from streamproof.errors import UsageError

MUTANT_VARIABLE = "STREAMPROOF_MUTANT"  # names what the embedded stack runs wrong, see mutants
DESCRIPTION_BYTES_MAX = 64 * 1024  # a target.json is under 2 KiB


class Capability(enum.StrEnum):
    """What the suite can do with a target; a clause says which of these it needs."""

    WIRE = "wire"  # open a WebSocket and talk
    TOKEN = "token"  # noqa: S105 - a capability, no secret: one good token is at hand
    MINT = "mint"  # tokens of several users and tenants
    PROBE = "probe"  # the probe pack answers
    MANAGEMENT = "management"  # signed calls to @connections
    VARIANT = "variant"  # start the same system again with other settings
    CRASH = "crash"  # harm is allowed: loopback only
    HOST = "host"  # a gateway that runs functions of the suite's own
    ADMIN = "admin"  # clock, faults, stream records
    INSIDE = "inside"  # logs, metrics, stored items
    CODE = "code"  # the reference's Python interface


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The limits a target declares; None is off, and `declared` tells off from unknown.

    Rates are per connection. Source: docs/contract.md, LIMIT and, for sizes, GW-8.
    """

    messages_per_minute: int | None = None
    burst: int | None = None
    in_flight: int | None = None
    message_bytes: int | None = None
    frame_bytes: int | None = None
    declared: bool = False

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read `limits` of a target.json; an absent or null one is undeclared."""
        if data is None:
            return cls()
        if not isinstance(data, Mapping):
            raise UsageError("limits of the target is not an object", "give {} for unknown")
        values: dict[str, int | None] = {}
        for name in ("messages_per_minute", "burst", "in_flight", "message_bytes", "frame_bytes"):
            value = data.get(name)
            if value is not None and (type(value) is not int or value < 1):
                raise UsageError(
                    f"limits.{name} of the target is {value!r}", "give a whole number or null"
                )
            values[name] = value
        return cls(**values, declared=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """How a target is reached: the content of its target.json. Holds secrets: never print it."""

    url: str
    management_url: str | None = None
    issuer: str | None = None
    audience: str | None = None
    jwt_private_key: str | None = None  # path of a PEM file
    jwt_public_key: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = dataclasses.field(default=None, repr=False)
    session_token: str | None = dataclasses.field(default=None, repr=False)
    pid: int | None = None
    environment: str | None = None
    ca: str | None = None  # path of a PEM file: who signed the certificate, beside the usual
    limits: Limits = Limits()

    @classmethod
    def from_json(cls, text: str, origin: str) -> Self:
        """Read one JSON object; `UsageError` names `origin` and what is wrong."""
        hint = "it should be the JSON object that `streamproof serve` prints"
        try:
            data = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{origin} is not JSON: {error}", hint) from error
        if not isinstance(data, dict) or not isinstance(data.get("url"), str):
            raise UsageError(f"{origin} has no url", hint)
        names = {field.name for field in dataclasses.fields(cls)} - {"limits", "pid"}
        known = {name: data[name] for name in names if data.get(name) is not None}
        for name, value in known.items():
            if not isinstance(value, str):
                raise UsageError(f"{name} in {origin} is not a text", hint)
        pid = data.get("pid")
        return cls(
            **known,
            pid=pid if isinstance(pid, int) else None,
            limits=Limits.from_json(data.get("limits")),
        )

    def tls(self) -> ssl.SSLContext:
        """What its `wss` and `https` are opened with; `UsageError` when `ca` cannot be read."""
        context = ssl.create_default_context()
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except OSError as error:
                raise UsageError(
                    f"the target's ca {self.ca} cannot be read: {error.strerror or error}",
                    "is the stack running whose target.json this is?",
                ) from error
        return context

    def to_json(self) -> str:
        """One line in target.json's form, secrets included."""
        data: dict[str, Any] = dataclasses.asdict(self)
        declared = data["limits"].pop("declared")
        if not declared:
            data["limits"] = None
        return json.dumps(data)


@dataclasses.dataclass(frozen=True, slots=True)
class TargetOptions:
    """What the command line says about a target beside its name; all optional."""

    token: str | None = dataclasses.field(default=None, repr=False)
    token_command: str | None = None
    jwt_key: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    environment: str | None = None
    accept_load_on: str | None = None
    tenants: tuple[str, ...] = ()  # the tenants that clauses may use; empty: made up per run
    # LIMIT-3 shows only where fewer requests may be in flight than messages may be sent.
    serve_arguments: tuple[str, ...] = ("--rate-limit", "100", "--in-flight-limit", "70")
    start_timeout_s: float = 30.0
