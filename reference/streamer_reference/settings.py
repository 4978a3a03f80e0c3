"""What a function reads from its environment, once, with every default of the contract."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from streamer_reference.auth import TokenRules
from streamer_reference.core.rate import RateLimit

PREFIX = "STREAMER_"


class SettingsError(Exception):
    """The environment lacks a variable or holds a value that cannot be."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One deployment's settings; a field's variable is its name in capitals after `PREFIX`."""

    store: str  # the path of the SQLite file
    management_url: str
    region: str
    token_keys: str  # JSON: key id to the path of a PEM file
    token_issuer: str = ""
    token_audience: str = ""
    tenants: str = ""  # JSON list of allowed tenants; empty allows all
    origins: str = ""  # JSON list of allowed origins; empty allows all
    environment: str = "dev"  # dev, staging or production: a dimension of every metric
    traces: str = ""  # where spans go: empty for nowhere, `otlp`, or the path of a file
    objects_directory: str = ""
    objects_url: str = ""
    probe: bool = False
    handlers: str = ""  # JSON list of Python files that hold a `registry`
    worker_function: str = "worker"
    # Runs one request at a time, of those whose worker died; apart, so that suspects in a queue
    # never keep a worker from everybody else's requests.
    isolated_worker_function: str = "isolated-worker"
    messages_per_minute: int = 100
    burst: int = 100
    in_flight: int = 100
    queue_threshold_s: float = 5.0
    short_limit_s: float = 25.0  # below the gateway's 29 s
    lease_s: float = 5.0
    renewal_s: float = 1.5
    slots: int = 250
    deaths_max: int = 5
    connection_ttl_s: int = 4 * 3600  # past the gateway's 2 h
    retention_s: int = 7 * 86_400
    result_url_s: int = 900

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """The settings of a process; raises `SettingsError` naming the variable."""
        values: dict[str, object] = {}
        for field in dataclasses.fields(cls):
            name = PREFIX + field.name.upper()
            if name not in environment:
                if field.default is dataclasses.MISSING:
                    raise SettingsError(f"the environment variable {name} is not set")
                continue
            kind = _KINDS[str(field.type)]
            try:
                values[field.name] = kind(environment[name])
            except ValueError:
                raise SettingsError(f"{name} is no {field.type}") from None
        return cls(**values)  # type: ignore[arg-type]  # converted by each field's own type above

    def to_environment(self) -> dict[str, str]:
        """The variables that give these settings to another process."""
        return {
            PREFIX + field.name.upper(): str(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }

    def token_rules(self) -> TokenRules:
        """The rules for tokens, with the keys read; raises `SettingsError`."""
        try:
            keys = {
                key_id: Path(path).read_text(encoding="ascii")
                for key_id, path in json.loads(self.token_keys).items()
            }
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise SettingsError(f"the token keys cannot be read: {error}") from None
        return TokenRules(keys, self.token_issuer or None, self.token_audience or None)

    @property
    def rate_limit(self) -> RateLimit:
        """LIMIT-2."""
        return RateLimit(self.messages_per_minute, self.burst)


def _boolean(text: str) -> bool:
    if text not in ("True", "False"):
        raise ValueError(text)
    return text == "True"


_KINDS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "bool": _boolean,
    "str": str,
}
