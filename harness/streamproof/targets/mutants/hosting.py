"""Section 6 of the contract, broken: the stream mapping (GW-11) and the function host (GW-12)."""

from __future__ import annotations

import dataclasses
from typing import Any

from streamproof.targets.mutants.base import Patch, mutant

MAPPING = "streamproof.gateway.event_source_mapping:MappingRunner"
ENVIRONMENTS = "streamproof.gateway.environments"
HOST = "streamproof.gateway.functions:FunctionHost"


def _mapping(patch: Patch, **fields: Any) -> None:
    """A mapping whose settings are other ones than were asked for."""

    @patch.around(f"{MAPPING}.__init__")
    def init(original: Any, self: Any, mapping: Any, *args: Any) -> None:
        original(self, dataclasses.replace(mapping, **fields), *args)


@mutant("GW-11")
def report_unread(patch: Patch) -> None:
    """What a function reports about single records is not read."""
    _mapping(patch, report_item_failures=False)


@mutant("GW-11")
def unknown_identifiers_are_success(patch: Patch) -> None:
    """A report that names no record of the batch counts as success."""

    @patch.around(f"{MAPPING}._read_report")
    def read_report(original: Any, *args: Any) -> Any:
        outcome = original(*args)
        return outcome if outcome.reported else dataclasses.replace(outcome, failed_at=None)


@mutant("GW-11")
def resumes_at_the_first(patch: Patch) -> None:
    """A batch of which one record failed is tried again from its first."""

    @patch.around(f"{MAPPING}._read_report")
    def read_report(original: Any, *args: Any) -> Any:
        outcome = original(*args)
        return dataclasses.replace(outcome, failed_at=0) if outcome.reported else outcome


@mutant("GW-11")
def lanes_by_turn(patch: Patch) -> None:
    """Records go to the lanes by turns, so that a key's records overtake each other."""

    @patch.around(f"{MAPPING}._take")
    def take(original: Any, self: Any, record: Any) -> None:
        keys = {**record.keys, "turn": {"N": str(record.sequence)}}
        original(self, dataclasses.replace(record, keys=keys))


@mutant("GW-11")
def writes_that_change_nothing(patch: Patch) -> None:
    """A write that changes nothing makes a record."""

    @patch.around(f"{MAPPING}._take")
    def take(original: Any, self: Any, record: Any) -> None:
        same = record.event_name == "MODIFY" and record.new_image == record.old_image
        original(self, dataclasses.replace(record, old_image=None) if same else record)


@mutant("GW-11")
def filters_unread(patch: Patch) -> None:
    """Every record is handed over, whatever the filters say."""
    _mapping(patch, filters=())


@mutant("GW-11")
def tried_for_ever(patch: Patch) -> None:
    """A batch that fails is tried again for ever."""
    _mapping(patch, retries_max=-1)


@mutant("GW-11")
def never_bisected(patch: Patch) -> None:
    """A batch that fails is tried again whole."""
    _mapping(patch, bisect=False)


@mutant("GW-11")
def old_records_are_kept(patch: Patch) -> None:
    """Records are handed over however old they are."""

    @patch.around(f"{MAPPING}._without_old")
    def without_old(_original: Any, _self: Any, _lane: Any, items: Any, _attempts: int) -> Any:
        return items


@mutant("GW-11")
def window_unread(patch: Patch) -> None:
    """A batch does not wait for its window."""
    _mapping(patch, batching_window_s=0.0)


@mutant("GW-11")
def batches_of_any_size(patch: Patch) -> None:
    """A batch takes all that is there."""
    _mapping(patch, batch_size=10_000)


@mutant("GW-11")
def given_up_without_a_word(patch: Patch) -> None:
    """What is given up is told to no destination."""
    _mapping(patch, on_failure=None)


@mutant("GW-11")
def batches_again_at_once(patch: Patch) -> None:
    """A batch that failed is tried again at once."""

    @patch.around(f"{MAPPING}._back_off")
    async def back_off(_original: Any, *_args: Any) -> None:
        return


@mutant("GW-12")
def environments_are_used_once(patch: Patch) -> None:
    """A process is ended after its first invocation."""

    @patch.around(f"{ENVIRONMENTS}:Environment.answered")
    def answered(original: Any, self: Any, *args: Any) -> Any:
        known = original(self, *args)
        self.kill()
        return known


@mutant("GW-12")
def one_environment_alone(patch: Patch) -> None:
    """A busy function is not started a second time."""

    @patch.around(f"{ENVIRONMENTS}:EnvironmentPool._has_room")
    def has_room(_original: Any, self: Any) -> bool:
        return not self._environments


@mutant("GW-12")
def time_limit_does_not_kill(patch: Patch) -> None:
    """A process that is over its time is left running."""

    @patch.around(f"{ENVIRONMENTS}:Environment.invoke")
    def invoke(original: Any, self: Any, invocation: Any) -> None:
        original(self, invocation)
        if self._timer is not None:
            self._timer.cancel()


@mutant("GW-12")
def idle_processes_run_on(patch: Patch) -> None:
    """A process goes on with what it left behind after its answer."""

    @patch.around(f"{ENVIRONMENTS}:Environment.freeze")
    def freeze(_original: Any, *_args: Any) -> None:
        return


@mutant("GW-12")
def asynchronous_without_retries(patch: Patch) -> None:
    """An asynchronous invocation that fails is not tried again."""

    @patch.around(f"{HOST}.__init__")
    def init(original: Any, self: Any, *args: Any) -> None:
        original(self, *args)
        for name, function in self._functions.items():
            self._functions[name] = dataclasses.replace(function, retries_async=0)


@mutant("GW-12")
def asynchronous_again_at_once(patch: Patch) -> None:
    """An asynchronous invocation that failed is tried again at once."""
    patch.constant("streamproof.gateway.functions:ASYNC_RETRY_S", 0.0)


@mutant("GW-12")
def failures_end_in_silence(patch: Patch) -> None:
    """An asynchronous invocation that failed for good is told to nobody."""

    @patch.around(f"{HOST}._fail")
    def fail(_original: Any, *_args: Any) -> None:
        return
