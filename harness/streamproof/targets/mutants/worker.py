"""The worker function of an embedded stack that runs a mutant: plants it, then is the worker.

Refused anywhere but behind the embedded stack, whose addresses are all on this machine.
"""

from __future__ import annotations

import os
from typing import Any

from streamer_reference.lambdas import worker
from streamer_reference.lambdas.runtime import face
from streamproof.targets.mutants import MUTANTS, VARIABLE, Patch

_LOOPBACK = ("127.0.0.1:", "http://127.0.0.1:", "https://127.0.0.1:")


def plant_from_environment() -> None:
    """Plant what the environment names; raises `RuntimeError` outside the embedded stack."""
    for variable in ("AWS_LAMBDA_RUNTIME_API", "STREAMER_MANAGEMENT_URL"):
        if not os.environ.get(variable, "").startswith(_LOOPBACK):
            raise RuntimeError(f"a mutant runs on the embedded stack alone, {variable} says no")
    MUTANTS[os.environ[VARIABLE]].plant(Patch())


def handler(event: dict[str, Any], context: Any) -> Any:
    """The worker's handler, with the code that was changed when this process started."""
    return _handler(event, context)


plant_from_environment()
_handler = face(worker.worker)
