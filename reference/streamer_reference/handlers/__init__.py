"""Handlers: what Streamer does for an action, and how a team registers its own."""

from __future__ import annotations

from streamer_reference.handlers import probe as probe_pack
from streamer_reference.handlers import process_data, report, waiting
from streamer_reference.handlers.bulk import register_bulk
from streamer_reference.handlers.job import JSON, Job
from streamer_reference.handlers.registry import ALWAYS_QUEUED_S, Handler, Registry
from streamer_reference.protocol.errors import ErrorCode, HandlerError, RetryableError

__all__ = [
    "ALWAYS_QUEUED_S",
    "JSON",
    "ErrorCode",
    "Handler",
    "HandlerError",
    "Job",
    "Registry",
    "RetryableError",
    "default_registry",
]


def default_registry(probe: bool = False) -> Registry:
    """A new registry of the built-in handlers; `probe` adds the probe pack, which is for tests."""
    registry = Registry()
    for module in (waiting, report, process_data, *((probe_pack,) if probe else ())):
        registry.include(module.registry)
    register_bulk(registry)
    return registry
