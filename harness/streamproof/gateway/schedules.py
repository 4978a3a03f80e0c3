"""EventBridge's rules at a rate: a function invoked asynchronously, again and again."""

from __future__ import annotations

import dataclasses
import logging
import uuid

from streamproof.gateway.clock import Clock, Timer, iso_time
from streamproof.gateway.description import Api, Schedule
from streamproof.gateway.errors import ThrottledError
from streamproof.gateway.functions import FunctionHost

_LOG = logging.getLogger("streamproof.gateway")


@dataclasses.dataclass(eq=False, slots=True)
class ScheduleRunner:
    """Runs one schedule; the first invocation comes after one period, as EventBridge's does."""

    schedule: Schedule
    api: Api
    functions: FunctionHost
    clock: Clock
    _timer: Timer | None = None

    def start(self) -> None:
        """Wait for the next period."""
        self._timer = self.clock.call_later(self.schedule.every_s, self._fire)

    def stop(self) -> None:
        """Fire no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self) -> None:
        self.start()
        api, name = self.api, self.schedule.function
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "account": api.account,
            "time": iso_time(self.clock.time_s(), "seconds"),
            "region": api.region,
            "resources": [f"arn:aws:events:{api.region}:{api.account}:rule/{name}"],
            "detail": {},
        }
        try:
            self.functions.invoke_async(name, event)
        except ThrottledError as error:
            _LOG.error("schedule of %s: %s", name, error)
