"""How a system spells requests and outcomes; ours is built in."""

from streamproof.dialect.base import Dialect, Kind, Reading, Role
from streamproof.dialect.streamer import StreamerDialect

__all__ = ["Dialect", "Kind", "Reading", "Role", "StreamerDialect"]
