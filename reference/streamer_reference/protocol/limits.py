"""Every limit of the wire, once, with where it comes from."""

from __future__ import annotations

import re
from typing import Final

MESSAGE_BYTES_MAX: Final = 131_072  # PostToConnection's Data, API Gateway service model
NESTING_MAX: Final = 128  # MSG-2
INTEGER_DIGITS_MAX: Final = 300  # MSG-2
ID_PATTERN: Final = re.compile(r"[\x21-\x7e]{1,128}")  # MSG-1
# No dot: no token is one, so none reaches the logs in its place (AUTH-6).
CORRELATION_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
ACTION_PATTERN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")  # MSG-1
METADATA_ENTRIES_MAX: Final = 32  # MSG-1
METADATA_KEY_CHARS_MAX: Final = 64  # MSG-1
METADATA_VALUE_CHARS_MAX: Final = 1024  # MSG-1
CLAIM_CHARS_MAX: Final = 256  # AUTH-3: `sub` and `tenant_id`
