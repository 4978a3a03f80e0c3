"""On the requests' stream: hands requests over to workers, and does no work itself.

It returns within milliseconds, so that no lane of the stream is ever busy with somebody's report.
"""

from __future__ import annotations

from typing import Any

from streamer_reference.core.states import CLAIMABLE
from streamer_reference.lambdas.runtime import face, function
from streamer_reference.observability import traces
from streamer_reference.observability.logs import bind, log
from streamer_reference.services import Services
from streamer_reference.sweeper import fail, hand_over_keys

NAMES = ("request_id", "correlation_id", "connection_id", "tenant_id")


@function
async def processor(event: dict[str, Any], services: Services, _context: Any = None) -> Any:
    """Hand over what waits; a record that cannot be read is parked, and the others go on."""
    together: list[str] = []
    alone: list[str] = []
    for record in event["Records"]:
        bind(**dict.fromkeys(NAMES))
        try:
            key = record["dynamodb"]["Keys"]["key"]["S"]
            if not isinstance(key, str):
                raise TypeError("the key is no text")
        except (KeyError, TypeError) as error:
            log("error", "a stream record without a key", reason=repr(error))
            await services.store.park(record, repr(error))
            continue
        try:
            image = record["dynamodb"]["NewImage"]
            bind(**{name: image[name]["S"] for name in NAMES if name in image})
            if image["status"]["S"] in CLAIMABLE:
                (alone if int(image["deaths"]["N"]) else together).append(key)
                with traces.span("processor", image.get("trace_header", {}).get("S", "")):
                    log("info", "handed over")
        except (KeyError, TypeError, ValueError) as error:
            log("error", "a stream record that cannot be read", key=key, reason=repr(error))
            await services.store.park(record, repr(error))
            await fail(key, "PROCESSING_FAILED", services)
    hand_over_keys(together, alone, services)
    return {"batchItemFailures": []}


handler = face(processor)
