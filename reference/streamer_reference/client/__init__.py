"""The client library: connect, ask, follow the progress, stay connected."""

from streamer_reference.client.errors import (
    ClientClosedError,
    ClientError,
    ConnectionLostError,
    RequestFailedError,
    TokenRefusedError,
    UnreachableError,
)
from streamer_reference.client.exchange import Progress, StoredResult
from streamer_reference.client.streamer_client import Broadcast, Counters, StreamerClient

__all__ = [
    "Broadcast",
    "ClientClosedError",
    "ClientError",
    "ConnectionLostError",
    "Counters",
    "Progress",
    "RequestFailedError",
    "StoredResult",
    "StreamerClient",
    "TokenRefusedError",
    "UnreachableError",
]
