"""What an invocation can end in, beside an answer."""

from __future__ import annotations

from typing import Any

_TIMED_OUT = "Sandbox.Timedout"


class FunctionError(Exception):
    """The function was invoked and raised, died, or ran out of time."""

    def __init__(self, error_type: str, message: str, trace: tuple[str, ...] = ()) -> None:
        """`error_type` is the exception's class, or a name such as `Sandbox.Timedout`."""
        super().__init__(f"{error_type}: {message}")
        self.error_type = error_type
        self.message = message
        self.trace = trace

    @classmethod
    def timed_out(cls, request_id: str, limit_s: float) -> FunctionError:
        """The function's time limit passed."""
        message = f"RequestId: {request_id} Error: Task timed out after {limit_s:.2f} seconds"
        return cls(_TIMED_OUT, message)

    @classmethod
    def exited(cls, request_id: str, how: str) -> FunctionError:
        """The function's process ended while it was invoked or before it was ready."""
        message = f"RequestId: {request_id} Error: Runtime exited with error: {how}"
        return cls("Runtime.ExitError", message)

    def line(self) -> str:
        """Return the line in the function's log; for a time limit it names what raises it."""
        hint = "; a higher timeout_s gives it longer"
        return f"[ERROR] {self.message}{hint if self.error_type == _TIMED_OUT else ''}"

    def payload(self) -> dict[str, Any]:
        """Return the error as Lambda writes it."""
        payload: dict[str, Any] = {"errorMessage": self.message, "errorType": self.error_type}
        if self.trace:
            payload["stackTrace"] = list(self.trace)
        return payload


class ThrottledError(Exception):
    """The function was not invoked: TooManyRequestsException."""

    def __init__(self, reason: str) -> None:
        """`reason` is one of Lambda's, such as `ConcurrentInvocationLimitExceeded`."""
        super().__init__(f"Rate Exceeded: {reason}")
        self.reason = reason

    def payload(self) -> dict[str, Any]:
        """Return the error as Lambda writes it."""
        return {"errorMessage": str(self), "errorType": "TooManyRequestsException"}


class IntegrationTimeoutError(Exception):
    """API Gateway stopped waiting for the function."""
