"""One JSON object per line, by Powertools; what names a request stands in each of its lines.

`bind` puts names into the current task's context: tasks started afterwards have them too, so a
worker that runs 250 requests side by side tells their lines apart. What goes in is named by the
caller, so no token ever does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter

if TYPE_CHECKING:
    from streamer_reference.store.base import Request

SERVICE: Final = "streamer"
LEVELS: Final = {
    name.lower(): getattr(logging, name) for name in ("DEBUG", "INFO", "WARNING", "ERROR")
}


class _StandardError(logging.Handler):
    """Whatever standard error is at the moment of a line; standard output may be a product."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - no line fails what it is about
            with contextlib.suppress(Exception):  # standard error may be closed, or none
                self.handleError(record)


FORMATTER: Final = LambdaPowertoolsFormatter(
    json_serializer=partial(json.dumps, default=str),  # ASCII: a lone surrogate breaks no line
    utc=True,
    use_rfc3339=True,
    service=SERVICE,
    location=None,  # it would be `log` each time
)
_HANDLER: Final = _StandardError()
_LOGGER: Final = logging.getLogger(SERVICE)  # the one that Powertools sets up
Logger(
    service=SERVICE,
    level=LEVELS.get(os.environ.get("STREAMER_LOG_LEVEL", ""), logging.INFO),
    logger_handler=_HANDLER,
    logger_formatter=FORMATTER,
)

bind: Final = FORMATTER.thread_safe_append_keys
bound: Final = FORMATTER.thread_safe_get_current_keys


def bind_request(request: Request) -> None:
    """Name a stored request, and whose it is, in what this task logs from here on."""
    bind(
        request_id=request.request_id,
        correlation_id=request.correlation_id,
        connection_id=request.connection_id,
        tenant_id=request.tenant_id,
    )


def log(level: str, message: str, **fields: Any) -> None:
    """Write one line to standard error; a field that is None is left out."""
    number = LEVELS[level]
    if _LOGGER.isEnabledFor(number):
        _LOGGER.log(number, message, extra=fields)
