"""The event source mapping as recorded from Lambda on DynamoDB Streams (GW-11)."""

from __future__ import annotations

import asyncio

import pytest

from streamproof.gateway import (
    ChangeRecord,
    EventSourceMapping,
    Function,
    ManualClock,
    ThrottledError,
)
from streamproof.gateway.stream_records import sequence_number
from support.gateway_host import Notes, running, turns


class Source:
    """A stream in a list."""

    def __init__(self):
        self.records = []
        self.reads = 0
        self.broken = False

    def add(self, key, *, name="INSERT", at_s=1_700_000_000.0, new=None, old=None):
        """Add one change of the item `key`."""
        keys = {"pk": {"S": key}}
        new = new if new is not None or name == "REMOVE" else {**keys, "n": {"N": "1"}}
        number = len(self.records) + 1
        self.records.append(ChangeRecord(number, name, keys, new, old, at_s))

    def read(self, after, limit):
        """Records after a number."""
        self.reads += 1
        if self.broken:
            raise OSError("gone")
        return self.records[after : after + limit]

    def latest(self):
        """The newest number."""
        return len(self.records)


class Stream:
    """A source, its function and the moments between."""

    def __init__(self, stage, source, notes, clock, failures):
        self.stage = stage
        self.source = source
        self.notes = notes
        self.clock = clock
        self.failures = failures

    async def batch(self):
        """The keys of the next batch."""
        event = await self.notes.next()
        return [each["dynamodb"]["Keys"]["pk"]["S"] for each in event["Records"]]

    async def quiet(self):
        """Let everything happen that needs no time; nothing may have been handed over."""
        await turns(50)
        assert self.notes.events.empty()

    async def pass_backoff(self):
        """Move the clock past the pause before the next attempt."""
        await turns(50)
        self.clock.advance(90)


class Streams:
    """Makes streams; an asynchronous context manager each."""

    def __call__(self, answer=None, keys="", **fields):
        return _Run(answer, keys, fields)


class _Run:
    def __init__(self, answer, keys, fields):
        self.source, self.clock, self.failures = Source(), ManualClock(), []
        self.notes = Notes(answer if answer is not None else (lambda _event: None))
        for key in keys:
            self.source.add(key)
        defaults = {"starting_position": "TRIM_HORIZON", "lanes": 1, "on_failure": self._failed}
        self.mapping = EventSourceMapping("f", self.source, **{**defaults, **fields})

    def _failed(self, document):
        self.failures.append(document)

    async def __aenter__(self):
        self.context = running(
            Function("f", run=self.notes), clock=self.clock, mappings=(self.mapping,)
        )
        stage = await self.context.__aenter__()
        return Stream(stage, self.source, self.notes, self.clock, self.failures)

    async def __aexit__(self, *error):
        await self.context.__aexit__(*error)


stream_of = Streams()


def failing(_event):
    """A function that raises."""
    raise ValueError("broken")


def report(*identifiers):
    """An answer that reports these identifiers."""
    return {"batchItemFailures": [{"itemIdentifier": each} for each in identifiers]}


SUCCESSES = [None, {}, [], {"batchItemFailures": []}, {"batchItemFailures": None}, "text"]
FAILURES = [
    report(""),
    report(None),
    report("unknown"),
    report(sequence_number(99)),
    report(5),
    {"batchItemFailures": [{"foo": sequence_number(1)}]},
    {"batchItemFailures": [{"foo": None}]},
    {"batchItemFailures": [{}]},
    {"batchItemFailures": ["x"]},
    {"batchItemFailures": "x"},
    {"batchItemFailures": [{"itemIdentifier": sequence_number(1)}, {"itemIdentifier": ""}]},
]


@pytest.mark.parametrize("answer", SUCCESSES)
async def test_recorded_successes_are_delivered_once(answer):
    """null, {}, [], an empty or null list: the batch is done."""
    async with stream_of(lambda _event: answer, keys="ab", retries_max=3) as stream:
        assert await stream.batch() == ["a", "b"]
        await stream.pass_backoff()
        await stream.quiet()
        assert stream.failures == []


@pytest.mark.parametrize("answer", [*FAILURES, failing])
async def test_recorded_failures_are_delivered_four_times_and_given_up(answer):
    """A bad identifier or an exception fails the batch: 1 + 3 deliveries, then the document."""
    function = answer if callable(answer) else lambda _event: answer
    async with stream_of(function, keys="ab", retries_max=3) as stream:
        for _ in range(4):
            assert await stream.batch() == ["a", "b"]
            await stream.pass_backoff()
        await stream.quiet()
        (document,) = stream.failures
        context = document["requestContext"]
        assert context["condition"] == "RetryAttemptsExhausted"
        assert context["approximateInvokeCount"] == 4
        assert context["functionArn"].endswith(":function:f")
        error = "Unhandled" if answer is failing else None
        assert document["responseContext"]["functionError"] == error
        info = document["DDBStreamBatchInfo"]
        assert info["batchSize"] == 2
        assert info["startSequenceNumber"] == sequence_number(1)
        assert info["endSequenceNumber"] == sequence_number(2)
        assert info["streamArn"].startswith("arn:aws:dynamodb:us-east-1:000000000000:table/")
        assert info["approximateArrivalOfFirstRecord"] == "2023-11-14T22:13:20.000Z"
        assert len(document["payload"]["Records"]) == 2
        stream.source.add("c")
        stream.stage.gateway.stream_wake()
        assert await stream.batch() == ["c"]


async def test_reported_numbers_resume_at_the_lowest():
    """Those before the lowest reported one are done, those after it come again."""
    answers = iter([report(sequence_number(4), sequence_number(2)), None])
    async with stream_of(lambda _event: next(answers), keys="abcd") as stream:
        assert await stream.batch() == ["a", "b", "c", "d"]
        await stream.pass_backoff()
        assert await stream.batch() == ["b", "c", "d"]
        await stream.pass_backoff()
        await stream.quiet()


async def test_only_what_is_left_is_given_up():
    """Records before a reported one are done, also when the rest is given up."""
    async with stream_of(
        lambda _event: report(sequence_number(2)), keys="ab", retries_max=0
    ) as stream:
        await stream.batch()
        await turns(50)
        (document,) = stream.failures
        assert document["DDBStreamBatchInfo"]["startSequenceNumber"] == sequence_number(2)


async def test_reports_count_only_when_asked_for():
    """Without ReportBatchItemFailures an answer means nothing."""
    async with stream_of(
        lambda _event: report("unknown"), keys="a", report_item_failures=False
    ) as stream:
        assert await stream.batch() == ["a"]
        await stream.pass_backoff()
        await stream.quiet()


async def test_a_failing_batch_blocks_its_lane_for_as_long_as_it_fails():
    """Without a cap it comes again and again, and what follows waits."""
    broken = True
    async with stream_of(lambda _event: 1 / 0 if broken else None, keys="a") as stream:
        assert await stream.batch() == ["a"]
        stream.source.add("b")
        stream.stage.gateway.stream_wake()
        for _ in range(20):
            await stream.pass_backoff()
            assert await stream.batch() == ["a"]
        broken = False
        await stream.pass_backoff()
        assert await stream.batch() == ["a"]
        assert await stream.batch() == ["b"]


async def test_retries_pause_longer_each_time():
    """The first pause is about half a second, later ones grow up to a minute."""
    async with stream_of(failing, keys="a") as stream:
        await stream.batch()
        await turns(50)
        stream.clock.advance(0.2)
        await stream.quiet()
        stream.clock.advance(0.6)
        assert await stream.batch() == ["a"]
        await turns(50)
        stream.clock.advance(0.3)
        await stream.quiet()


async def test_a_throttle_is_no_attempt():
    """Throttled invocations are repeated until one is taken, without counting."""
    throttles = iter([ThrottledError("x")] * 5)

    def answer(_event):
        for error in throttles:
            raise error

    async with stream_of(answer, keys="a", retries_max=0) as stream:
        for _ in range(6):
            assert await stream.batch() == ["a"]
            await stream.pass_backoff()
        await stream.quiet()
        assert stream.failures == []


async def test_bisect_halves_a_batch_that_raises():
    """Halves are tried in order without costing attempts; the one bad record is given up alone."""

    def answer(event):
        keys = [each["dynamodb"]["Keys"]["pk"]["S"] for each in event["Records"]]
        if "c" in keys:
            raise ValueError("poison")

    async with stream_of(answer, keys="abcd", bisect=True, retries_max=1) as stream:
        seen = []
        for _ in range(6):
            seen.append("".join(await stream.batch()))
            await stream.pass_backoff()
        assert seen == ["abcd", "ab", "cd", "c", "c", "d"]
        (document,) = stream.failures
        assert document["DDBStreamBatchInfo"]["batchSize"] == 1
        assert document["requestContext"]["approximateInvokeCount"] == 2


async def test_bisect_splits_at_a_reported_record():
    """What comes before it is done; a split costs no attempt, a first record does."""
    answers = iter([report(sequence_number(3)), *[report(sequence_number(3))] * 2])
    async with stream_of(
        lambda _event: next(answers, None), keys="abcd", bisect=True, retries_max=1
    ) as stream:
        seen = []
        for _ in range(3):
            seen.append("".join(await stream.batch()))
            await stream.pass_backoff()
        assert seen == ["abcd", "cd", "cd"]
        await stream.quiet()
        assert stream.failures[0]["DDBStreamBatchInfo"]["batchSize"] == 2


async def test_records_that_are_too_old_are_given_up():
    """Beyond the maximum age a record goes to the destination, unless it was new enough."""
    async with stream_of(keys="", record_age_max_s=60) as stream:
        now_s = stream.clock.time_s()
        stream.source.add("old", at_s=now_s - 61)
        stream.source.add("new", at_s=now_s)
        stream.stage.gateway.stream_wake()
        assert await stream.batch() == ["new"]
        (document,) = stream.failures
        assert document["requestContext"]["condition"] == "RecordAgeExceeded"
        assert document["requestContext"]["approximateInvokeCount"] == 0
        stream.source.add("older", at_s=now_s - 61)
        stream.stage.gateway.stream_wake()
        await stream.quiet()
        assert len(stream.failures) == 2


async def test_a_stream_keeps_its_records_a_day():
    """Without a maximum age the stream's own retention holds; no destination, no document."""
    async with stream_of(failing, on_failure=None) as stream:
        stream.source.add("a", at_s=stream.clock.time_s())
        stream.stage.gateway.stream_wake()
        assert await stream.batch() == ["a"]
        await turns(50)
        stream.clock.advance(86_401)
        await stream.quiet()


async def test_batches_are_cut_at_their_size():
    """No batch holds more records than asked for."""
    async with stream_of(keys="abcde", batch_size=2) as stream:
        assert [await stream.batch() for _ in range(3)] == [["a", "b"], ["c", "d"], ["e"]]


async def test_batches_are_cut_at_six_megabytes():
    """A batch is handed over before it is too large for an invocation."""
    async with stream_of() as stream:
        for key in "abc":
            stream.source.add(key, new={"text": {"S": "x" * 3_000_000}})
        stream.stage.gateway.stream_wake()
        assert await stream.batch() == ["a", "b"]
        assert await stream.batch() == ["c"]


async def test_a_window_gathers_records():
    """A batch waits for its window, or until it is full."""
    async with stream_of(keys="a", batching_window_s=10, batch_size=3) as stream:
        await stream.quiet()
        stream.source.add("b")
        stream.stage.gateway.stream_wake()
        await stream.quiet()
        stream.clock.advance(10)
        assert await stream.batch() == ["a", "b"]
        for key in "cde":
            stream.source.add(key)
        stream.stage.gateway.stream_wake()
        assert await stream.batch() == ["c", "d", "e"]


async def test_lanes_run_side_by_side_and_keep_the_order_of_a_key():
    """A lane that is busy holds up its own keys only."""
    let, order = asyncio.Event(), []

    async def answer(event):
        for each in event["Records"]:
            key = each["dynamodb"]["Keys"]["pk"]["S"]
            number = each["dynamodb"]["SequenceNumber"]
            order.append((key, int(number)))
            if key == "slow":
                await let.wait()

    async with stream_of(answer, lanes=8, batch_size=1) as stream:
        for key in ["slow", *"abcdefgh", "slow", *"abcdefgh"]:
            stream.source.add(key)
        stream.stage.gateway.stream_wake()
        await turns(300)
        done = [key for key, _ in order if key != "slow"]
        assert len(done) >= 12
        assert [key for key, _ in order].count("slow") == 1
        let.set()
        await turns(300)
        assert len(order) == 18
        for name in {key for key, _ in order}:
            numbers = [number for key, number in order if key == name]
            assert numbers == sorted(numbers)


async def test_what_is_held_is_bounded():
    """A mapping that is held up stops reading."""
    let = asyncio.Event()
    async with stream_of(lambda _event: let.wait(), keys="a" * 100, batch_size=2) as stream:
        await stream.batch()
        await turns(50)
        reads = stream.source.reads
        stream.stage.gateway.stream_wake()
        await turns(50)
        assert stream.source.reads == reads
        let.set()
        for _ in range(49):
            await stream.batch()


async def test_filters_let_pass_what_any_of_them_takes():
    """Filtered records advance the position and invoke nothing."""
    pattern = {"dynamodb": {"NewImage": {"status": {"S": ["PENDING", "RETRYING"]}}}}
    async with stream_of(filters=(pattern, {"eventName": ["REMOVE"]})) as stream:
        for key, status in [("a", "DONE"), ("b", "PENDING"), ("c", "RETRYING"), ("d", "DONE")]:
            stream.source.add(key, new={"status": {"S": status}})
        stream.source.add("e", name="REMOVE", old={"status": {"S": "DONE"}})
        stream.stage.gateway.stream_wake()
        assert await stream.batch() == ["b", "c", "e"]
        stream.source.add("f", new={"status": {"S": "DONE"}})
        stream.stage.gateway.stream_wake()
        await stream.quiet()


async def test_a_write_that_changes_nothing_makes_no_record():
    """MODIFY with equal images is dropped, as DynamoDB never writes it."""
    async with stream_of() as stream:
        image = {"n": {"N": "1"}}
        stream.source.add("same", name="MODIFY", new=image, old=dict(image))
        stream.source.add("other", name="MODIFY", new=image, old={"n": {"N": "2"}})
        stream.stage.gateway.stream_wake()
        assert await stream.batch() == ["other"]


PRESENT = {"id": {"S": "id_value_1"}, "presentKey": {"S": "presentValue"}}
ABSENT = {"id": {"S": "id_value_2"}}
SAME, CHANGED = {"id": {"S": "id_value"}}, {"id": {"S": "id_value"}, "id2": {"S": "new"}}
TWICE = {"id": {"S": "id_value"}, "id2": {"S": "id2_value"}}


def new_image(**members):
    """A pattern for the new image."""
    return {"dynamodb": {"NewImage": members}}


@pytest.mark.parametrize(
    ("first", "second", "pattern", "calls"),
    [
        (TWICE, TWICE, {"eventName": ["INSERT"]}, 1),
        (TWICE, TWICE, {"eventName": ["INSERT", "MODIFY"]}, 1),
        (SAME, CHANGED, {"eventName": ["INSERT", "MODIFY"]}, 2),
        (SAME, CHANGED, {"eventName": ["INSERT"], "eventSource": ["aws:dynamodb"]}, 1),
        (PRESENT, ABSENT, new_image(presentKey={"S": ["presentValue"]}), 1),
        (PRESENT, ABSENT, new_image(presentKey=["presentValue"]), 0),
        (PRESENT, ABSENT, new_image(presentKey={"S": [{"exists": True}]}), 1),
        (PRESENT, ABSENT, new_image(presentKey=[{"exists": True}]), 0),
        (ABSENT, PRESENT, new_image(presentKey=[{"exists": False}]), 2),
        (
            {"id": {"S": "1"}, "n": {"N": "42"}},
            {"id": {"S": "2"}, "n": {"N": "101"}},
            new_image(n={"N": [{"numeric": [">", 100]}, {"anything-but": "101"}]}),
            1,
        ),
        (
            {"id": {"S": "1"}, "prefix": {"S": "us-1-other-suffix"}},
            {"id": {"S": "1"}, "prefix": {"S": "other-suffix"}},
            new_image(prefix={"S": [{"prefix": "us-1"}]}),
            1,
        ),
        (
            PRESENT,
            ABSENT,
            {"dynamodb": {"ApproximateCreationDateTime": [{"numeric": [">", 0]}]}},
            2,
        ),
    ],
)
async def test_recorded_filters_invoke_as_often_as_on_aws(first, second, pattern, calls):
    """Two puts, one pattern, a batch size of 1: how often the function ran in November 2025."""
    async with stream_of(filters=(pattern,), batch_size=1) as stream:
        items = {}
        for item in (first, second):
            key = item["id"]["S"]
            old = items.get(key)
            stream.source.add(key, name="MODIFY" if old else "INSERT", new=item, old=old)
            items[key] = item
        stream.stage.gateway.stream_wake()
        for _ in range(calls):
            await stream.batch()
        await stream.quiet()


async def test_the_recorded_record_of_an_item_put_twice_has_32_bytes():
    """Its keys are 2 + 8 bytes, its image 2 + 8 + 3 + 9; the second put makes no record."""
    async with stream_of() as stream:
        for name, old in [("INSERT", None), ("MODIFY", TWICE)]:
            number = len(stream.source.records) + 1
            keys = {"id": TWICE["id"]}
            stream.source.records.append(ChangeRecord(number, name, keys, TWICE, old, 1.7e9))
        stream.stage.gateway.stream_wake()
        (record,) = (await stream.notes.next())["Records"]
        assert record["dynamodb"]["SizeBytes"] == 32
        await stream.quiet()


async def test_the_failure_document_has_the_recorded_members_in_order():
    """The records are under payload, as AWS does for S3."""
    async with stream_of(lambda _event: report(""), keys="ab", retries_max=0) as stream:
        await stream.batch()
        await turns(50)
        (document,) = stream.failures
        assert list(document) == [
            "requestContext",
            "responseContext",
            "version",
            "timestamp",
            "DDBStreamBatchInfo",
            "payload",
        ]
        assert list(document["requestContext"]) == [
            "requestId",
            "functionArn",
            "condition",
            "approximateInvokeCount",
        ]
        assert document["responseContext"] == {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": None,
        }
        assert document["version"] == "1.0"
        assert document["timestamp"].endswith("Z")
        assert list(document["DDBStreamBatchInfo"]) == [
            "shardId",
            "startSequenceNumber",
            "endSequenceNumber",
            "approximateArrivalOfFirstRecord",
            "approximateArrivalOfLastRecord",
            "batchSize",
            "streamArn",
        ]


async def test_a_window_ends_at_six_megabytes():
    """A batch that is large enough does not wait for the rest of its window."""
    async with stream_of(batching_window_s=300) as stream:
        for key in "ab":
            stream.source.add(key, new={"text": {"S": "x" * 3_200_000}})
        stream.stage.gateway.stream_wake()
        assert await stream.batch() == ["a"]


async def test_latest_begins_behind_what_is_there():
    """LATEST hands over only what comes after the start."""
    async with stream_of(keys="ab", starting_position="LATEST") as stream:
        await stream.quiet()
        stream.source.add("c")
        stream.clock.advance(0.05)
        assert await stream.batch() == ["c"]


async def test_a_source_that_breaks_is_asked_again(caplog):
    """An error of the source is logged, and the next poll tries again."""
    async with stream_of() as stream:
        stream.source.broken = True
        stream.source.add("a")
        stream.clock.advance(0.05)
        await stream.quiet()
        assert "cannot be read" in caplog.text
        stream.source.broken = False
        stream.clock.advance(0.05)
        assert await stream.batch() == ["a"]


async def test_a_batch_that_runs_is_let_finish_at_the_stop():
    """Stopping hands over nothing more and waits for what runs."""
    ended, let = [], asyncio.Event()

    async def answer(_event):
        await let.wait()
        ended.append(True)

    async with stream_of(answer, keys="a") as stream:
        await stream.batch()
        stopping = asyncio.ensure_future(stream.stage.gateway.stop())
        await turns(50)
        assert not stopping.done()
        let.set()
        await stopping
        assert ended == [True]


async def test_a_destination_that_fails_holds_nothing_up(caplog):
    """The lane goes on with the next batch, and what was raised is in the log."""

    def refuse(_document):
        raise OSError("full")

    async with stream_of(failing, "ab", batch_size=1, retries_max=0, on_failure=refuse) as stream:
        assert await stream.batch() == ["a"]
        assert await stream.batch() == ["b"]
        await stream.quiet()
    assert "the on_failure of the mapping to f raised" in caplog.text
    assert "OSError: full" in caplog.text
