"""Going first where the system allows it, and back."""

from __future__ import annotations

import os

import pytest

from streamproof.load import priority


class System:
    """Stands for `os`: allows what it is told to, and remembers what was asked."""

    PRIO_PROCESS, SCHED_OTHER, SCHED_RR, SCHED_RESET_ON_FORK = 0, 0, 2, 0x40000000

    def __init__(self, *allowed):
        self.allowed = allowed
        self.calls = []

    def sched_getscheduler(self, pid):
        return 3

    def sched_getparam(self, pid):
        return 0

    def getpriority(self, which, who):
        return 5

    def sched_param(self, value):
        return value

    def _call(self, name, *args):
        if name not in self.allowed:
            raise PermissionError(1, "Operation not permitted")
        self.calls.append((name, *args))

    def sched_setscheduler(self, *args):
        self._call("real time", *args)

    def setpriority(self, *args):
        self._call("nice", *args)


@pytest.mark.parametrize(
    ("allowed", "found"),
    [
        (("real time", "nice"), priority.REAL_TIME),
        (("nice",), priority.NICE),
        ((), priority.ORDINARY),
    ],
)
def test_the_best_that_is_allowed_is_taken_and_given_back(monkeypatch, allowed, found):
    """Real time, else nice, else as everybody; afterwards everything is as before."""
    system = System(*allowed)
    monkeypatch.setattr(priority, "os", system)
    with priority.ahead() as how:
        assert how == found
        taken = len(system.calls)
    assert len(system.calls) == 2 * taken
    if found == priority.REAL_TIME:
        assert system.calls[0][2] & System.SCHED_RESET_ON_FORK
        assert system.calls[-1] == ("real time", 0, 3, 0), "the policy that was there"
    if found == priority.NICE:
        assert system.calls[-1] == ("nice", 0, 0, 5), "the niceness that was there"


def test_a_system_without_priorities_is_ordinary(monkeypatch):
    """Where Python offers neither call nothing fails."""
    monkeypatch.setattr(priority, "os", object())
    with priority.ahead() as how:
        assert how == priority.ORDINARY


def test_this_system_is_left_as_it_was():
    """On the machine of the test, whatever it allows."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with priority.ahead() as how:
        assert how in (priority.REAL_TIME, priority.NICE, priority.ORDINARY)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
