"""What every test may import: helpers live in `tests/support`, as `support.<module>`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
