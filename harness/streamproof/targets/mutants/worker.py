"""The worker function of an embedded stack that runs a mutant: plants it, then is the worker.

Refused anywhere but behind the embedded stack, whose addresses are all on this machine.
"""

from __future__ import annotations

import os
from typing import Any

from streamer_reference.lambdas import worker
from streamer_reference.lambdas.runtime import face
from streamproof.targets.mutants import MUTANTS, VARIABLE, Patch

_LOOPBACK = {"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:", "STREAMER_MANAGEMENT_URL": "http://127.0.0.1:"}


def plant_from_environment() -> None:
    """Plant what the environment names; raises `RuntimeError` outside the embedded stack."""
    for variable, prefix in _LOOPBACK.items():
        if not os.environ.get(variable, "").startswith(prefix):
            raise RuntimeError(f"a mutant runs on the embedded stack alone: {variable} says no")
    MUTANTS[os.environ[VARIABLE]].plant(Patch())


def handler(event: dict[str, Any], context: Any) -> Any:
    """The worker's handler, whose code was changed when this process started."""
    return _handler(event, context)


plant_from_environment()
_handler = face(worker.worker)
