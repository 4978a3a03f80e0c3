"""Section 3 of the contract, broken: PROG."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from streamer_reference.core.coalescing import Coalescing, Update
from streamer_reference.handlers.job import Job
from streamproof.targets.mutants.base import Patch, mutant

COALESCING = "streamer_reference.core.coalescing:Coalescing"
REPORTER = "streamer_reference.outbox:ProgressReporter"
STORE = "streamer_reference.store.sqlite:SqliteStore"


@mutant("PROG-1")
def percentages_unbounded(patch: Patch) -> None:
    """A percentage is sent as it was reported, below 0 or above 100."""

    @patch.around(f"{COALESCING}.report")
    def report(_original: Any, state: Coalescing, update: Update) -> Coalescing:
        return dataclasses.replace(state, waiting=update)


@mutant("PROG-1")
def percentages_fall(patch: Patch) -> None:
    """A percentage below the one before is sent."""

    @patch.around(f"{COALESCING}.report")
    def report(original: Any, state: Coalescing, update: Update) -> Any:
        floor = 0.0 if state.floor < 100 else 100.0
        lower = original(dataclasses.replace(state, floor=floor, waiting=None), update)
        return dataclasses.replace(lower, floor=state.floor)


@mutant("PROG-1")
def hundred_more_than_once(patch: Patch) -> None:
    """After 100 progress goes on being sent."""

    @patch.around(f"{COALESCING}.report")
    def report(original: Any, state: Coalescing, update: Update) -> Any:
        if state.floor < 100:
            return original(state, update)
        return dataclasses.replace(state, waiting=dataclasses.replace(update, percentage=100.0))


@mutant("PROG-2")
def interval_of_ten_milliseconds(patch: Patch) -> None:
    """Progress leaves every 10 ms."""
    patch.constant("streamer_reference.core.coalescing:INTERVAL_MS", 10)


@mutant("PROG-2")
def first_update_wins(patch: Patch) -> None:
    """A batch keeps its first update and drops the last."""

    @patch.around(f"{COALESCING}.report")
    def report(original: Any, state: Coalescing, update: Update) -> Any:
        return original(state, update) if state.waiting is None else state


@mutant("PROG-2")
def one_step_behind(patch: Patch) -> None:
    """What is sent is always the update before the newest."""

    @patch.around(f"{REPORTER}._report")
    def report(original: Any, reporter: Any, update: Update) -> None:
        before = reporter.__dict__.get("_behind")
        reporter._behind = update
        if before is not None:
            original(reporter, before)


@mutant("PROG-2")
def update_waits_a_second(patch: Patch) -> None:
    """An update waits a second although the connection takes messages."""
    patch.constant("streamer_reference.core.coalescing:INTERVAL_MS", 1_000)


@mutant("PROG-3")
def pending_is_dropped(patch: Patch) -> None:
    """What waits when the handler ends is never sent."""

    @patch.around(f"{REPORTER}._start_draining")
    def start_draining(original: Any, reporter: Any, *args: Any) -> None:
        reporter._coalescing = dataclasses.replace(reporter._coalescing, waiting=None)
        original(reporter, *args)


@mutant("PROG-3")
def outcome_waits_by_sleeping(patch: Patch) -> None:
    """The end waits for an interval, whether or not anything is pending."""

    @patch.around("streamer_reference.outbox:Outbox.finish")
    async def finish(original: Any, *args: Any) -> None:
        await asyncio.sleep(0.1)
        await original(*args)


@mutant("PROG-3")
def outcome_leaves_the_waiting_behind(patch: Patch) -> None:
    """An outcome is recorded without the update that still waits behind a slow client."""

    @patch.around("streamer_reference.outbox:Outbox.finish")
    async def finish(original: Any, *args: Any) -> None:
        await original(*args[:-1], None)


@mutant("PROG-4")
def nothing_is_noted(patch: Patch) -> None:
    """`status` stands still while a client takes nothing."""

    @patch.around("streamer_reference.outbox:Outbox.note")
    async def note(_original: Any, *_args: Any) -> None:
        return None


@mutant("PROG-4")
def percentage_is_not_stored(patch: Patch) -> None:
    """`status` never says how far a request is."""

    @patch.around("streamer_reference.actions:_describe")
    async def describe(original: Any, *args: Any) -> Any:
        data = await original(*args)
        return data if "result" in data else {**data, "percentage": 0.0}


@mutant("PROG-5")
def metadata_of_later(patch: Patch) -> None:
    """An update takes metadata with it that was set after it."""

    @patch.around(f"{REPORTER}.set_metadata")
    def set_metadata(_original: Any, reporter: Any, key: str, value: Any) -> None:
        reporter._metadata[key] = value


@mutant("PROG-5")
def metadata_of_the_last_alone(patch: Patch) -> None:
    """Setting one member of the metadata drops those set before it."""

    @patch.around(f"{REPORTER}.set_metadata")
    def set_metadata(original: Any, reporter: Any, key: str, value: Any) -> None:
        reporter._metadata = {}
        original(reporter, key, value)


@mutant("PROG-6")
def retry_begins_at_zero(patch: Patch) -> None:
    """A second attempt's progress begins at 0 again."""

    @patch.around(f"{REPORTER}.__init__")
    def init(original: Any, reporter: Any, outbox: Any, floor: float, *args: Any) -> None:
        original(reporter, outbox, 0.0 * floor, *args)


@mutant("PROG-7")
def handler_waits_for_its_receiver(patch: Patch) -> None:
    """A handler goes on only when its client has taken what it reported."""

    def job(**fields: Any) -> Job:
        reporter = fields["updates"]

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)
            while not reporter._outbox.taken or reporter._coalescing.waiting:  # noqa: ASYNC110 - wrong on purpose
                await asyncio.sleep(0.01)

        return Job(**fields, sleep=sleep)

    patch.value("streamer_reference.worker:Job", job)
