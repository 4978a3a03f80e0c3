"""The client library: connect, ask, follow the progress, stay connected."""

from streamer_reference.client import errors
from streamer_reference.client.exchange import Progress, StoredResult
from streamer_reference.client.streamer_client import Broadcast, StreamerClient

__all__ = ["Broadcast", "Progress", "StoredResult", "StreamerClient", "errors"]
