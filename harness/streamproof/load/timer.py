"""Waiting for a moment of the monotonic clock inside gevent's loop, precisely where Linux allows.

`gevent.sleep` wakes half a millisecond late; a timerfd that the loop watches wakes some hundredths
late. Elsewhere moments are slept for, and that is said (`Timer.precise`).

The timer that gives out arrivals wakes `EARLY_NS` before the moment and looks at the clock until
it has come: waking from idle takes 0.09 ms at the median and 1 ms and more at p99 on a virtual
machine, which would all be added to the target's latency. At 200 a second this costs 2 % of a core.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from typing import Protocol

import gevent

NS_PER_S = 1_000_000_000
CLOCK_MONOTONIC = 1  # linux/time.h
TFD_NONBLOCK = 0o4000  # linux/timerfd.h
TFD_CLOEXEC = 0o2000000
TFD_TIMER_ABSTIME = 1
READABLE = 1  # gevent's io watcher event
EARLY_NS = 150_000


class Timer(Protocol):
    """Wakes the calling greenlet at a moment of `time.monotonic_ns`."""

    precise: bool

    def wait_until(self, moment_ns: int) -> None:
        """Return at `moment_ns` or as soon after as the loop allows; at once when it is past."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


class SleepTimer:
    """The fallback: late by the loop's resolution, 1 ms and more."""

    precise = False

    def wait_until(self, moment_ns: int) -> None:
        """Sleep until then."""
        while (left_ns := moment_ns - time.monotonic_ns()) > 0:
            gevent.sleep(left_ns / NS_PER_S)

    def close(self) -> None:
        """Nothing to give back."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerfdTimer:
    """A timerfd on the monotonic clock; one greenlet waits on it at a time."""

    precise = True

    def __init__(self, early_ns: int = 0) -> None:
        """Open the descriptor; `OSError` or `AttributeError` where the system has none."""
        self._early_ns = early_ns
        # Python has os.timerfd_create from 3.13 on; the C library has it everywhere on Linux.
        self._settime = ctypes.CDLL(None, use_errno=True).timerfd_settime
        create = ctypes.CDLL(None, use_errno=True).timerfd_create
        self._descriptor = create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._hub = gevent.get_hub()
        self._watcher = self._hub.loop.io(self._descriptor, READABLE)

    def wait_until(self, moment_ns: int) -> None:
        """Wait on the descriptor, and the last stretch by looking at the clock."""
        wake_ns = moment_ns - self._early_ns
        if wake_ns > time.monotonic_ns():
            self._sleep_until(wake_ns)
        while time.monotonic_ns() < moment_ns:
            pass

    def _sleep_until(self, moment_ns: int) -> None:
        seconds, nanoseconds = divmod(moment_ns, NS_PER_S)
        value = _Itimerspec(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        self._settime(self._descriptor, TFD_TIMER_ABSTIME, ctypes.byref(value), None)
        self._hub.wait(self._watcher)
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            # A wake-up without an expiry leaves nothing to read; whoever waits looks at the clock.
            return

    def close(self) -> None:
        """Stop watching, then close."""
        self._watcher.stop()
        self._watcher.close()
        os.close(self._descriptor)


def timer(early_ns: int = 0) -> Timer:
    """The best timer that this system has; `early_ns` is how long before a moment it may wake."""
    if sys.platform == "linux":
        try:
            return TimerfdTimer(early_ns)
        except (OSError, AttributeError):
            return SleepTimer()
    return SleepTimer()
