"""The connections that exist: open, and not yet ending."""

from __future__ import annotations

from streamproof.gateway.websocket import Connection


class Connections:
    """Finds connections by id; those that are ending are in `ending` until all is over."""

    def __init__(self) -> None:
        """Start with none."""
        self._open: dict[str, Connection] = {}
        self.ending: set[Connection] = set()

    def __len__(self) -> int:
        """Count the open ones."""
        return len(self._open)

    def get(self, connection_id: str) -> Connection | None:
        """Return the open connection of that id."""
        return self._open.get(connection_id)

    def all(self) -> list[Connection]:
        """Return the open connections."""
        return list(self._open.values())

    def add(self, connection: Connection) -> None:
        """Make a connection known: posts reach it from now on."""
        self._open[connection.session.connection_id] = connection

    def end(self, connection: Connection) -> None:
        """Make a connection unknown: posts to it are answered Gone."""
        self._open.pop(connection.session.connection_id, None)
        self.ending.add(connection)

    def forget(self, connection: Connection) -> None:
        """All is over."""
        self.ending.discard(connection)
