"""Wall time as an argument: what a test replaces to let seven days pass in a microsecond."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Milliseconds since the epoch. Waiting is asyncio's, whose loop a test can replace too."""

    def now_ms(self) -> int:
        """The wall clock, integer milliseconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch; may step when the machine's clock is set."""
        return time.time_ns() // 1_000_000
