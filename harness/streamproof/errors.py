"""What can go wrong before there is a verdict, and the exit code of everything.

Every error that a user can cause carries one line that says what happened and one that names the
next step. Commands print both on standard error and end with `exit_code`; no traceback is shown.
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """How every command ends; of several, `USAGE` wins, then `BROKEN`, then `NO_VERDICT`."""

    HOLDS = 0
    BROKEN = 1  # a clause failed, a target was missed, a regression, a lost message
    USAGE = 2  # the command line, a configuration file, a build or the connection is wrong
    NO_VERDICT = 3  # inconclusive, invalid, not measurable, or the harness itself broke
    INTERRUPTED = 130

    @classmethod
    def worst(cls, codes: list[ExitCode]) -> ExitCode:
        """The one exit code that stands for several; `HOLDS` for none."""
        for code in (cls.INTERRUPTED, cls.USAGE, cls.BROKEN, cls.NO_VERDICT):
            if code in codes:
                return code
        return cls.HOLDS


class StreamproofError(Exception):
    """The root of what this package raises on purpose."""

    exit_code = ExitCode.NO_VERDICT

    def __init__(self, message: str, hint: str = "") -> None:
        """`message` says what is wrong in one line, `hint` names the next step."""
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(StreamproofError):
    """The caller's words are wrong: an option, a file, a name."""

    exit_code = ExitCode.USAGE


class TargetUnreachableError(StreamproofError):
    """No connection to the target, or it refused a token that should be good."""

    exit_code = ExitCode.USAGE


class HarnessError(StreamproofError):
    """The harness broke: nothing is known about the target."""

    exit_code = ExitCode.NO_VERDICT
