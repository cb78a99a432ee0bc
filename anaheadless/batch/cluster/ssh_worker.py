"""A Dask worker that ssh has started: what it has to know comes on standard input, and it ends with that."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import Any

from distributed import Security, Worker

from anaheadless.batch import cpus
from anaheadless.batch.cluster.ssh import READY

JOIN_SECONDS = 30
CLOSE_SECONDS = 5


async def serve(told: dict[str, Any]) -> None:
    """Be a worker until standard input ends, or the scheduler has gone."""
    tls = told["tls"]
    security = Security(
        require_encryption=True,
        tls_ca_file=tls["ca_file"],
        tls_worker_cert=tls["cert"],
        tls_worker_key=tls["key"],
    )
    worker = await Worker(
        told["scheduler"],
        name=told["name"],
        nthreads=cpus.usable_cpus(os.environ),
        security=security,
        dashboard=False,
        death_timeout=JOIN_SECONDS,
    )
    os.write(1, READY)
    ended = asyncio.ensure_future(asyncio.to_thread(sys.stdin.buffer.read))
    await asyncio.wait({ended, asyncio.ensure_future(worker.finished())}, return_when=asyncio.FIRST_COMPLETED)
    with suppress(Exception):  # of Dask, which has lost its scheduler, perhaps
        await asyncio.wait_for(worker.close(executor_wait=False), CLOSE_SECONDS)


if __name__ == "__main__":
    try:
        asyncio.run(serve(json.loads(sys.stdin.buffer.readline())))
    finally:
        # A thread may still wait for standard input, or for an item, which ends with this process.
        os._exit(0)
