"""On the requests' stream: hands requests over to workers, and does no work itself.

It returns within milliseconds, so that no lane of the stream is ever busy with somebody's report.
"""

from __future__ import annotations

from typing import Any

from streamer_reference.core.states import CLAIMABLE
from streamer_reference.lambdas.runtime import face
from streamer_reference.observability.logs import log
from streamer_reference.services import Services
from streamer_reference.sweeper import fail, hand_over_keys


async def processor(event: dict[str, Any], services: Services, _context: Any = None) -> Any:
    """Hand over what waits; a record that cannot be read is parked, and the others go on."""
    together: list[str] = []
    alone: list[str] = []
    for record in event["Records"]:
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
            if image["status"]["S"] in CLAIMABLE:
                (alone if int(image["deaths"]["N"]) else together).append(key)
        except (KeyError, TypeError, ValueError) as error:
            log("error", "a stream record that cannot be read", key=key, reason=repr(error))
            await services.store.park(record, repr(error))
            await fail(key, "PROCESSING_FAILED", services)
    hand_over_keys(together, alone, services)
    return {"batchItemFailures": []}


handler = face(processor)
