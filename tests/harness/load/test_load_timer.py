"""Waking at a moment, on whatever this system has."""

from __future__ import annotations

import ctypes
import time

import gevent
import pytest

from streamproof.load import timer as timer_module
from streamproof.load.timer import SleepTimer, timer

MS = 1_000_000


@pytest.mark.parametrize("make", [timer, lambda: timer(1 * MS), SleepTimer])
def test_a_timer_never_wakes_early_and_lets_others_run(make):
    """After the moment, not before; meanwhile other greenlets go on."""
    clock = make()
    seen = []
    gevent.spawn(seen.append, "ran")
    moment_ns = time.monotonic_ns() + 5 * MS
    clock.wait_until(moment_ns)
    assert time.monotonic_ns() >= moment_ns
    assert seen == ["ran"]
    clock.wait_until(moment_ns)  # past: at once
    clock.close()


def test_a_system_without_timerfd_gets_the_coarse_timer(monkeypatch):
    """Elsewhere, and where the kernel refuses, the fallback says that it is one."""
    monkeypatch.setattr(timer_module.sys, "platform", "other")
    assert not timer().precise
    monkeypatch.setattr(timer_module.sys, "platform", "linux")

    class Library:
        """A C library whose kernel refuses."""

        timerfd_settime = None

        @staticmethod
        def timerfd_create(*_):
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library)
    assert not timer().precise


def test_a_wake_up_without_an_expiry_is_harmless(monkeypatch):
    """A descriptor with nothing to read does not end the run."""
    clock = timer()
    if not clock.precise:
        pytest.fail("this test needs Linux")

    def nothing(*_):
        raise BlockingIOError

    monkeypatch.setattr(timer_module.os, "read", nothing)
    moment_ns = time.monotonic_ns() + MS
    clock.wait_until(moment_ns)
    assert time.monotonic_ns() >= moment_ns
    monkeypatch.undo()
    clock.close()
