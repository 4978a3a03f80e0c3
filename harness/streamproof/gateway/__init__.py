"""What AWS supplies, emulated on loopback: API Gateway WebSocket, Lambda, a stream's mapping.

`Gateway(description)` hosts functions that a `Description` names; nothing here knows the reference.
"""

from streamproof.gateway.clock import Clock, ManualClock
from streamproof.gateway.description import (
    Api,
    ChangeRecord,
    Context,
    Credentials,
    Description,
    EventSourceMapping,
    Faults,
    Function,
    Limits,
    PostFault,
    Run,
    Schedule,
    StreamSource,
)
from streamproof.gateway.errors import FunctionError, ThrottledError
from streamproof.gateway.server import Gateway

__all__ = [
    "Api",
    "ChangeRecord",
    "Clock",
    "Context",
    "Credentials",
    "Description",
    "EventSourceMapping",
    "Faults",
    "Function",
    "FunctionError",
    "Gateway",
    "Limits",
    "ManualClock",
    "PostFault",
    "Run",
    "Schedule",
    "StreamSource",
    "ThrottledError",
]
