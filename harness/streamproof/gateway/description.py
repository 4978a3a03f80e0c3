"""What a gateway hosts, as data: an API, functions, schedules, stream mappings, limits.

The reference is described in these words, and so is any team's own system.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from streamproof.errors import UsageError
from streamproof.gateway.filter_patterns import PATTERNS_MAX, check_pattern
from streamproof.gateway.http11 import Request
from streamproof.terminal import note

Run = Callable[[dict[str, Any]], Awaitable[Any]]
"""An asynchronous function in the process: an event in, an answer out, both JSON values."""

Page = Callable[[], tuple[str, bytes]]
"""A page: its content type and its content as they are now."""

Site = Callable[[Request], bytes | AsyncIterator[bytes]]
"""What answers every request below a path, with a whole answer or with pieces of one."""

Item = TypeVar("Item", bound="StreamItem")

MESSAGE_BYTES_MAX = 131_072  # PostToConnection Data, botocore's model; quota of WebSocket APIs
FRAME_BYTES_MAX = 32_768  # quota of WebSocket APIs


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What a synchronous handler gets beside the event, shaped like Lambda's own context."""

    function_name: str
    aws_request_id: str
    invoked_function_arn: str
    deadline_s: float
    monotonic_s: Callable[[], float]
    function_version: str = "$LATEST"
    memory_limit_in_mb: str = "512"
    log_group_name: str = ""
    log_stream_name: str = ""
    identity: None = None
    client_context: None = None

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's time limit, never below 0."""
        return max(0, int((self.deadline_s - self.monotonic_s()) * 1000))


@dataclasses.dataclass(frozen=True, slots=True)
class Function:
    """One Lambda function: `run` awaited here, `handler` in a thread, or `command` a process.

    A process speaks the Lambda Runtime API; each holds one invocation at a time, at most
    `environments_max` exist, `warm` are kept started. A synchronous invocation that finds all of
    them busy is throttled, an asynchronous one waits. `on_failure` names the function that gets
    the failure document of an asynchronous invocation after `retries_async` retries (0 to 2), or
    once it would be older than `event_age_max_s` (60 to 21,600).
    `drains` says that its processes take SIGTERM as: begin nothing new, end what runs, then go.
    `environment` is added to a process's variables and means nothing in this process; it runs in
    `directory`, or in the gateway's own.
    """

    name: str
    run: Run | None = None
    handler: Callable[[dict[str, Any], Context], Any] | None = None
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directory: Path | None = None
    timeout_s: float = 29.0
    environments_max: int = 1
    warm: int = 0
    on_failure: str | None = None
    retries_async: int = 0
    event_age_max_s: float = 21_600.0
    memory_mb: int = 512
    drains: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Schedule:
    """A function that is invoked asynchronously every `every_s` seconds, first after as long."""

    function: str
    every_s: float


@dataclasses.dataclass(frozen=True, slots=True)
class ChangeRecord:
    """One change of an item, in DynamoDB JSON; `sequence` only ever grows in one source."""

    sequence: int
    event_name: str  # INSERT, MODIFY or REMOVE
    keys: dict[str, Any]
    new_image: dict[str, Any] | None
    old_image: dict[str, Any] | None
    created_at_s: float


class StreamSource(Protocol):
    """Where changes come from; both calls are made on the loop and must not block."""

    def read(self, after: int, limit: int) -> list[ChangeRecord]:
        """Return at most `limit` records after the sequence number `after`, in order."""
        ...

    def latest(self) -> int:
        """Return the sequence number of the newest record, 0 when there is none."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class EventSourceMapping:
    """A stream whose records are handed to a function in batches, as Lambda does with DynamoDB's.

    -1 stands for no limit, as in Lambda. `lanes` is shards times parallelization factor.
    `on_failure` gets the document that Lambda would send to the failure destination, with the
    records under `payload` as it does for S3. Bounds and defaults: AWS's.
    """

    function: str
    source: StreamSource
    batch_size: int = 100
    batching_window_s: float = 0.0
    lanes: int = 4
    filters: tuple[dict[str, Any], ...] = ()
    retries_max: int = -1
    record_age_max_s: float = -1
    bisect: bool = False
    report_item_failures: bool = True
    on_failure: Callable[[dict[str, Any]], None] | None = None
    poll_s: float = 0.05
    starting_position: str = "LATEST"  # or TRIM_HORIZON
    stream_view_type: str = "NEW_AND_OLD_IMAGES"
    table: str = "requests"


class StreamItem(Protocol):
    """A record on its way to a function."""

    @property
    def record(self) -> ChangeRecord:
        """The change."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class PostFault:
    """What goes wrong with one post: `delay_s` passes, then `status` is the answer, None the truth.

    `delivered` says whether the client gets the message all the same.
    """

    status: int | None = None
    delivered: bool = False
    delay_s: float = 0.0


class Faults(Protocol):
    """What a nemesis does to the gateway; both calls are made on the loop and must not block."""

    def on_post(self, connection_id: str, data: bytes) -> PostFault | None:
        """Decide about a post that nothing else speaks against; None lets it be."""
        ...

    def deliveries(self, batch: list[Item]) -> list[list[Item]]:
        """Return what is handed over, one after the other, in place of a batch of records."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Api:
    """One WebSocket API: route keys and the functions behind them.

    A route in `two_way` has a route response: its function's body goes back to the client.
    `authorizer` names a REQUEST authorizer for $connect; each of `identity_sources`, written as
    `route.request.header.NAME` or `route.request.querystring.NAME`, must be there, or it is 401.
    Its answer is kept `authorizer_ttl_s` for the same identity: 0 to 3600, and 0 unless asked for,
    as AWS documents the cache for HTTP APIs only; without identity sources it cannot be kept.
    """

    routes: Mapping[str, str]
    stage: str = "dev"
    api_id: str = "streamprf0"
    region: str = "us-east-1"
    account: str = "000000000000"
    route_selection_expression: str = "$request.body.action"
    two_way: frozenset[str] = frozenset()
    authorizer: str | None = None
    identity_sources: tuple[str, ...] = ()
    authorizer_ttl_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Credentials:
    """The one key pair that may sign requests to `@connections` and for objects."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """API Gateway's limits; a rate of None is off. Sources: quotas of WebSocket APIs."""

    message_bytes: int = MESSAGE_BYTES_MAX
    frame_bytes: int = FRAME_BYTES_MAX
    idle_s: float = 600.0
    lifetime_s: float = 7200.0
    integration_timeout_s: float = 29.0
    send_buffer_bytes: int = 1 << 20  # beyond the kernel's own
    connects_per_s: float | None = None  # AWS: 500 per account and region
    stage_rate: float | None = None  # messages per second; Streamer deploys 1000
    stage_burst: int = 2000
    management_rate: float | None = None  # calls of @connections per second; AWS: 10,000
    management_burst: int = 5000
    connections_max: int = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """Everything a gateway is told before it starts.

    `sites` answer plain requests below their paths; `pages` are for the operator at this machine,
    by path, and answer a loopback Host alone: a name that a web page of somebody else's made to
    point here (DNS rebinding) reads nothing. `freeze` stops processes between events. `on_line`
    gets each line of a function's log, after its name: what its process writes, how it failed.
    """

    api: Api
    functions: tuple[Function, ...]
    credentials: Credentials
    schedules: tuple[Schedule, ...] = ()
    mappings: tuple[EventSourceMapping, ...] = ()
    limits: Limits = dataclasses.field(default_factory=Limits)
    sites: Mapping[str, Site] = dataclasses.field(default_factory=dict)
    pages: Mapping[str, Page] = dataclasses.field(default_factory=dict)
    raw_echo: bool = False
    verbose: bool = False
    on_line: Callable[[str, str], object] | None = None
    on_message: Callable[[int], object] | None = None  # how long one took, in nanoseconds
    freeze: bool = True
    faults: Faults | None = None

    def take_line(self, function: str, line: str) -> None:
        """Hand on a line of a function's log, and show it where that is asked for."""
        if self.on_line is not None:
            self.on_line(function, line)
        if self.verbose:
            note(f"{function}: {line}")

    def check(self) -> None:
        """Raise `UsageError` for a description that cannot be hosted."""
        names = [function.name for function in self.functions]
        for name in {name for name in names if names.count(name) > 1}:
            raise UsageError(f"function {name!r} is described twice", "give each its own name")
        for function in self.functions:
            _check_function(function)
        used = [
            *self.api.routes.values(),
            *(schedule.function for schedule in self.schedules),
            *(mapping.function for mapping in self.mappings),
            *(function.on_failure for function in self.functions if function.on_failure),
            *([self.api.authorizer] if self.api.authorizer else []),
        ]
        for name in used:
            if name not in names:
                raise UsageError(
                    f"function {name!r} is used but not described",
                    f"described are: {', '.join(sorted(names)) or 'none'}",
                )
        if re.fullmatch(r"[A-Za-z0-9_-]{1,128}", self.api.stage) is None:
            raise UsageError(f"stage {self.api.stage!r} is no name", "use letters, digits, - and _")
        for key in self.api.routes:
            if key.startswith("$") and key not in ("$connect", "$disconnect", "$default"):
                raise UsageError(f"route key {key!r} starts with $", "AWS keeps those for itself")
        for source in self.api.identity_sources:
            if re.fullmatch(r"route\.request\.(header|querystring)\..+", source) is None:
                raise UsageError(
                    f"identity source {source!r}",
                    "route.request.header.NAME or route.request.querystring.NAME",
                )
        _check_bounds(self.api, "the API", {"authorizer_ttl_s": (0, 3600)})
        if self.api.authorizer_ttl_s and not self.api.identity_sources:
            raise UsageError(
                "an authorizer's answer is kept without identity_sources, for whoever comes next",
                "name identity_sources, or keep it for 0 seconds",
            )
        for mapping in self.mappings:
            _check_mapping(mapping)


def _check_function(function: Function) -> None:
    ways = [function.run, function.handler, function.command]
    if sum(way is not None for way in ways) != 1:
        raise UsageError(
            f"function {function.name!r} needs exactly one of run, handler, command",
            "say how it is called",
        )
    bounds = {
        "timeout_s": (0.001, 900),
        "warm": (0, function.environments_max),
        "retries_async": (0, 2),
        "event_age_max_s": (60, 21_600),
    }
    _check_bounds(function, f"function {function.name!r}", bounds)


def _check_bounds(described: Any, what: str, bounds: Mapping[str, tuple[float, float]]) -> None:
    for field, (low, high) in bounds.items():
        value = getattr(described, field)
        if not low <= value <= high:
            raise UsageError(f"{field} of {what} is {value}", f"{low} to {high}")


def _check_mapping(mapping: EventSourceMapping) -> None:
    bounds: dict[str, tuple[float, float]] = {
        "batch_size": (1, 10_000),
        "batching_window_s": (0, 300),
        "lanes": (1, 100),
        "retries_max": (-1, 10_000),
    }
    if mapping.record_age_max_s != -1:
        bounds["record_age_max_s"] = (60, 604_800)
    _check_bounds(mapping, f"the mapping to {mapping.function!r}", bounds)
    if mapping.starting_position not in ("LATEST", "TRIM_HORIZON"):
        raise UsageError(
            f"starting position {mapping.starting_position!r}", "LATEST or TRIM_HORIZON"
        )
    if len(mapping.filters) > PATTERNS_MAX:
        raise UsageError(f"{len(mapping.filters)} filter patterns", f"at most {PATTERNS_MAX}")
    for pattern in mapping.filters:
        check_pattern(pattern)
