"""Workers that ``ssh`` starts; the scheduler runs in the mapper.

Dask's own SSHCluster hands its configuration over in the command line, where every user of the machine could read the
key of a certificate. Here, all goes through standard input, and the worker ends when that does.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
from contextlib import suppress
from typing import Any

from distributed import Scheduler, Security, SpecCluster
from distributed.deploy.spec import ProcessInterface

from anaheadless.batch.cluster.address import Cluster
from anaheadless.errors import LaunchError
from anaheadless.system.programs import this_python

START_SECONDS = 60.0
END_SECONDS = 15.0
CHUNK = 4096
READY = b"anaheadless: ready\n"


class RemoteWorker(ProcessInterface):
    """A worker on a host, as Dask's SpecCluster wants it."""

    def __init__(
        self, scheduler: str, *, host: str, args: tuple[str, ...], security: Security, name: Any = None
    ) -> None:
        super().__init__(scheduler=scheduler, name=name)
        self.name = name
        self._scheduler, self._host, self._args, self._security = scheduler, host, args, security
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; :raises LaunchError: ssh says why it can't be."""
        python = shlex.quote(this_python())
        self._process = await asyncio.create_subprocess_exec(
            "ssh", "-oBatchMode=yes", *self._args, "--", self._host,
            f"exec {python} -m anaheadless.batch.cluster.ssh_worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # ^C is for the mapper, which still needs it then
        )  # fmt: skip
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        assert self._process.stderr is not None, "it is a pipe"
        told = {
            "scheduler": self._scheduler,
            "tls": dict(self._security.get_tls_config_for_role("worker")),
            "name": f"{self._host}-{self.name}",
        }
        with suppress(ConnectionError):  # it has failed already, and says why
            self._process.stdin.write(json.dumps(told).encode() + b"\n")
            await self._process.stdin.drain()
        line = b""
        with suppress(asyncio.TimeoutError, ValueError):
            line = await asyncio.wait_for(self._process.stdout.readline(), START_SECONDS)
        if line != READY:
            said = b""
            with suppress(asyncio.TimeoutError):
                said = await asyncio.wait_for(self._process.stderr.read(CHUNK), 1)
            await self.close()
            raise LaunchError(
                f"no worker can be started by ssh on {self._host}",
                hint="This command has to work without a password, and find the Python that runs this map: "
                f"ssh {' '.join([*self._args, self._host])} {this_python()} --version",
                details=tuple(said.decode(errors="backslashreplace").splitlines()),
            )
        self._drains = [asyncio.ensure_future(_drain(each)) for each in (self._process.stdout, self._process.stderr)]
        await super().start()

    async def close(self) -> None:
        """End it."""
        if self._process is not None:
            assert self._process.stdin is not None, "it is a pipe"
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), END_SECONDS)
            except asyncio.TimeoutError:
                with suppress(ProcessLookupError):
                    self._process.kill()
        await super().close()


async def _drain(stream: asyncio.StreamReader) -> None:
    """Read what nobody wants: a worker that can't write would wait."""
    while await stream.read(CHUNK):
        pass


def make(cluster: Cluster, security: Security) -> SpecCluster:
    """Make a cluster of a worker on each host."""
    hosts = cluster.value.split(",")
    options = {"args": cluster.args, "security": security}
    return SpecCluster(
        workers={
            number: {"cls": RemoteWorker, "options": {**options, "host": host}} for number, host in enumerate(hosts)
        },
        scheduler={
            "cls": Scheduler,
            "options": {"host": f"tls://{own_address(hosts[0])}", "port": 0, "dashboard": False, "security": security},
        },
        security=security,
        asynchronous=True,
    )


def own_address(host: str) -> str:
    """Return the address of this machine that *host* sees; nothing is sent for that."""
    with suppress(OSError):
        family, kind, _, _, place = socket.getaddrinfo(host.rpartition("@")[2], 22, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(place)
            address = str(probe.getsockname()[0])
            return f"[{address}]" if ":" in address else address
    return os.uname().nodename  # a name that only ssh knows
