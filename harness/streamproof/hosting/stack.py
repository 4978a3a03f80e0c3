"""A described system behind the gateway, as a target: the counterpart of the embedded reference."""

from __future__ import annotations

import dataclasses

from streamproof.gateway import Description, Gateway
from streamproof.live_page import LivePage
from streamproof.targets.base import Description as Target
from streamproof.targets.certificates import Certificates

HOST = "127.0.0.1"  # what domainName says too: it needs no resolver, and Node 17 and later
# try ::1 first for localhost


class HostedStack:
    """The gateway with somebody's functions; `start` once, `stop` once."""

    def __init__(
        self, description: Description, *, port: int = 0, certificates: Certificates | None = None
    ) -> None:
        """Nothing is opened yet; without `certificates` the port speaks ws and http."""
        self._port = port
        self._certificates = certificates
        self.live = LivePage(lambda: len(self.gateway.connections))
        self.gateway = Gateway(
            dataclasses.replace(
                description,
                pages={**self.live.pages, **description.pages},
                on_line=self._take_line,
                on_message=self._answered,
            )
        )
        self._description = description

    async def start(self) -> Target:
        """Open the port and start what is kept warm; the description of the target."""
        certificates, secure = self._certificates, "s" if self._certificates else ""
        context = certificates.server_context() if certificates else None
        self.live.follow("streamproof.gateway")
        await self.gateway.start(HOST, self._port, context)
        description = self.gateway.description
        base = f"{HOST}:{self.gateway.port}/{description.api.stage}"
        return Target(
            url=f"ws{secure}://{base}",
            management_url=f"http{secure}://{base}",
            region=description.api.region,
            access_key_id=description.credentials.access_key_id,
            secret_access_key=description.credentials.secret_access_key,
            session_token=description.credentials.session_token,
            ca=str(certificates.authority) if certificates else None,
        )

    async def stop(self) -> None:
        """Let what runs finish, close connections with 1001, end the processes."""
        await self.gateway.stop()
        await self.live.aclose()

    def _take_line(self, function: str, line: str) -> None:
        self.live.line(line, function)
        if self._description.on_line is not None:
            self._description.on_line(function, line)

    def _answered(self, latency_ns: int) -> None:
        self.live.answered(latency_ns)
        if self._description.on_message is not None:
            self._description.on_message(latency_ns)
