"""Short requests over a hundred connections: what a client waits from its plan to its answer."""

from __future__ import annotations

from streamproof.load.user import Poisson, StreamUser, operation


class Request(StreamUser):
    """Short request, answered by the whole path."""

    connections = 100
    arrivals = Poisson(rate_per_s=200)
    latency_ms = "p(99) < 10"

    @operation
    def echo(self) -> None:
        """One request whose answer must carry the same nonce."""
        self.short({"nonce": self.nonce(), "text": "How long does this take?"})
