"""Where the frames of RFC 6455 end in what a client sends, and nothing else about them.

websockets' core reads all that it is given before it tells of any of it. Given a frame at a time,
a message is dealt with before the close behind it, however the network has put them together.
"""

from __future__ import annotations

_MASKED = 0x80
_LENGTH_BYTES = {126: 2, 127: 8}  # what follows the second byte; other values are the length
_MASK_BYTES = 4


class FrameCutter:
    """Cuts a stream of frames into pieces that end no later than a frame does."""

    def __init__(self) -> None:
        """Start before a frame."""
        self._head = bytearray()  # of the frame that began, until its length is known
        self._left = 0  # bytes of the frame's data that are to come

    def cut(self, data: bytes) -> list[bytes]:
        """Return `data` in pieces; a frame may take several, but none has parts of two."""
        pieces, start, at = [], 0, 0
        while at < len(data):
            if self._left == 0:
                at = self._read_head(data, at)
            taken = min(self._left, len(data) - at)
            self._left -= taken
            at += taken
            if self._left == 0 and not self._head:
                pieces.append(data[start:at])
                start = at
        if start < at:
            pieces.append(data[start:])
        return pieces

    def _read_head(self, data: bytes, at: int) -> int:
        """Read on in a head and return where it stops; the head is empty once it is whole."""
        head = self._head
        while (missing := _head_bytes(head) - len(head)) > 0:
            if at == len(data):
                return at
            head += data[at : at + missing]
            at = min(at + missing, len(data))
        size = _LENGTH_BYTES.get(head[1] & 0x7F, 0)
        self._left = int.from_bytes(head[2 : 2 + size], "big") if size else head[1] & 0x7F
        head.clear()
        return at


def _head_bytes(head: bytearray) -> int:
    if len(head) < 2:
        return 2
    return 2 + _LENGTH_BYTES.get(head[1] & 0x7F, 0) + (_MASK_BYTES if head[1] & _MASKED else 0)
