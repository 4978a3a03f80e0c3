"""One JSON object per line. What goes in is named by the caller, so no token ever does."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Final

LEVELS: Final = ("debug", "info", "warning", "error")


def _level() -> int:
    name = os.environ.get("STREAMER_LOG_LEVEL", "info")
    return LEVELS.index(name) if name in LEVELS else 1


_LOWEST: Final = _level()


def log(level: str, message: str, **fields: Any) -> None:
    """Write one line to standard error; a field that is None is left out."""
    if LEVELS.index(level) < _LOWEST:
        return
    line = {
        "level": level.upper(),
        "message": message,
        "timestamp": int(time.time() * 1000),
        "service": "streamer",
        "function": os.environ.get("AWS_LAMBDA_FUNCTION_NAME"),
        **fields,
    }
    text = json.dumps({name: value for name, value in line.items() if value is not None})
    sys.stderr.write(text + "\n")
