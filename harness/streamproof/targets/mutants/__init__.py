"""Wrong implementations, to prove that tests, clauses and the simulation refuse them.

Each breaks one rule of the contract in the reference, or in the gateway for the rules of the
platform, and is kept here so that neither holds a switch of its own. A process plants one with
`planted`; the workers of the embedded stack, which are processes of their own, plant what the
variable `STREAMPROOF_MUTANT` names when they start (`worker.py`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from streamproof.targets.base import MUTANT_VARIABLE as VARIABLE
from streamproof.targets.mutants import (
    connecting,
    delivery,
    hosting,
    limits,
    long_requests,
    messages,
    operators,
    platform,
    progress,
    recovery,
)
from streamproof.targets.mutants.base import REGISTERED, Mutant, Patch, SeamError

__all__ = ["MUTANTS", "VARIABLE", "Mutant", "Patch", "SeamError", "planted"]

_SECTIONS = (
    connecting,
    messages,
    long_requests,
    progress,
    recovery,
    delivery,
    limits,
    platform,
    hosting,
    operators,
)
MUTANTS: Mapping[str, Mutant] = MappingProxyType(
    {
        name: found
        for section in _SECTIONS
        for name, found in REGISTERED.items()
        if found.plant.__module__ == section.__name__
    }
)


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant a mutant in this process, and in the workers that it starts, and take it out again.

    Raises `KeyError` for an unknown name, `SeamError` when the code it changes is no longer there.
    """
    patch = Patch()
    before = os.environ.get(VARIABLE)
    try:
        MUTANTS[name].plant(patch)
        os.environ[VARIABLE] = name
        yield
    finally:
        patch.undo()
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before
