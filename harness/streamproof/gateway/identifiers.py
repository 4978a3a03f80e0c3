"""The ids that API Gateway hands out, and how it tells its own from others."""

from __future__ import annotations

import base64
import binascii
import secrets

ID_BYTES = 11  # recorded: 16 characters of URL-safe base64, the last one padding
ID_CHARACTERS = 16
_MARK = 8  # recorded: the ninth byte is 0x02 in every id that was seen


def new_id() -> str:
    """Make an id of a connection, request or message: 16 characters, as in `L0SM9cOFvHcCIhw=`."""
    raw = bytearray(secrets.token_bytes(ID_BYTES))
    raw[_MARK] = 2
    return base64.urlsafe_b64encode(raw).decode()


def is_well_formed(text: str) -> bool:
    """Tell whether an id could be one of API Gateway's: it decodes to 11 bytes and encodes back."""
    if len(text) != ID_CHARACTERS:
        return False
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii"))
    except (binascii.Error, UnicodeEncodeError):
        return False
    return len(raw) == ID_BYTES and base64.urlsafe_b64encode(raw).decode() == text


def new_trace_id(time_s: float) -> str:
    """Make an X-Ray trace header's root, as in `Root=1-65f5a1b2-..`."""
    return f"Root=1-{int(time_s):08x}-{secrets.token_hex(12)}"
