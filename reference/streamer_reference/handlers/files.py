"""Files that handlers write: made in a thread, stored, and fetched by a URL that expires."""

from __future__ import annotations

import concurrent.futures
import datetime
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from streamer_reference.handlers.job import JSON, Job, in_thread
from streamer_reference.protocol.errors import HandlerError

EXPIRES_S = 900
CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pdf": "application/pdf",
}
# One thread: matplotlib is not safe in two at once, and a second would only fight for the lock.
POOL = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="file")


async def publish(
    job: Job, name: str, write: Callable[[Job, Path], dict[str, JSON]]
) -> dict[str, JSON]:
    """Have `write` fill a file, store it, and say where it is, with what `write` says of it."""
    if job.objects is None:
        raise HandlerError("SERVICE_UNAVAILABLE", "there is no object store to put the file in")
    generated_at = _rfc3339(job)
    # Each attempt has its own: one that was given up cannot replace the file of a later one.
    owner = json.dumps([job.tenant_id, job.user_id, job.request_id, job.attempt])
    key = f"files/{hashlib.sha256(owner.encode()).hexdigest()[:32]}/{name}"
    form = name.rpartition(".")[2]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, name)
        told = await in_thread(
            lambda job: {**write(job, path), "size_bytes": path.stat().st_size}, job, POOL
        )
        await job.objects.put(key, path, CONTENT_TYPES[form])
    job.progress(100.0, "The file is stored")
    return {
        "url": job.objects.presign(key, EXPIRES_S),
        "format": form,
        "generated_at": generated_at,
        "expires_at": _rfc3339(job, EXPIRES_S),
        **told,
    }


def _rfc3339(job: Job, later_s: int = 0) -> str:
    moment = datetime.datetime.fromtimestamp(job.clock.now_ms() / 1000 + later_s, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
