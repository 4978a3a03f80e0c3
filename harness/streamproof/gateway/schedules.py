"""EventBridge's rules at a rate: a function invoked asynchronously, again and again."""

from __future__ import annotations

import logging
import uuid

from streamproof.gateway.clock import Clock, Timer, iso_time
from streamproof.gateway.description import Api, Schedule
from streamproof.gateway.errors import ThrottledError
from streamproof.gateway.functions import FunctionHost

_LOG = logging.getLogger("streamproof.gateway")


class ScheduleRunner:
    """Runs one schedule; the first invocation comes after one period, as EventBridge's does."""

    def __init__(self, schedule: Schedule, api: Api, functions: FunctionHost, clock: Clock) -> None:
        """Nothing runs before `start`."""
        self._schedule = schedule
        self._api = api
        self._functions = functions
        self._clock = clock
        self._timer: Timer | None = None

    def start(self) -> None:
        """Wait for the next period."""
        self._timer = self._clock.call_later(self._schedule.every_s, self._fire)

    def stop(self) -> None:
        """Fire no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self.start()
        api, name = self._api, self._schedule.function
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": api.account,
            "time": iso_time(self._clock.time_s(), "seconds"),
            "region": api.region,
            "resources": [f"arn:aws:events:{api.region}:{api.account}:rule/{name}"],
            "detail": {},
        }
        try:
            self._functions.invoke_async(name, event)
        except ThrottledError as error:
            _LOG.error("schedule of %s: %s", name, error)
