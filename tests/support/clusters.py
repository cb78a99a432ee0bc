"""Dask clusters, and what maps leave on them."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.helpers import CHECKOUT, PROGRAMS, wait_until


class DaskCluster:
    """A cluster, whose processes are known by their PATH, which those of its items have, too."""

    def __init__(self, process: subprocess.Popen[str], mark: str, address: str) -> None:
        self.process, self.mark, self.address = process, mark, address

    def left(self) -> list[psutil.Process]:
        """The processes of maps that are there now: those that are not Dask's own."""
        found = []
        for process in psutil.process_iter():
            try:
                if self.mark in process.environ().get("PATH", "") and process.status() != psutil.STATUS_ZOMBIE:
                    command = " ".join(process.cmdline())
                    is_dasks = "multiprocessing" in command or "dask" in command
                    found += [] if is_dasks and "batch.cluster.host" not in command else [process]
            except psutil.Error:
                continue
        return found

    def wait_until_nothing_is_left(self) -> None:
        wait_until(lambda: not self.left(), "nothing is left on the cluster")


@contextmanager
def dask_cluster(folder: Path, workers: int = 2, threads: int = 1) -> Iterator[DaskCluster]:
    """A LocalCluster in a process of its own, with a process for each worker."""
    mark = f"/nowhere/{uuid.uuid4().hex}"
    path = folder / f"address-{uuid.uuid4().hex}"
    words = [sys.executable, str(PROGRAMS / "dask_cluster.py"), str(path), str(workers), str(threads)]
    environ = {**os.environ, "PATH": f"{os.environ['PATH']}:{mark}", "TMPDIR": str(folder), "PYTHONPATH": str(CHECKOUT)}
    with open(folder / "log", "a") as log, subprocess.Popen(
        words, stdin=subprocess.PIPE, stderr=log, text=True, env=environ
    ) as process:  # fmt: skip
        try:
            wait_until(path.exists, "the cluster is there")
            cluster = DaskCluster(process, mark, path.read_text())
            yield cluster
            cluster.wait_until_nothing_is_left()
        finally:
            assert process.stdin is not None, "it is a pipe"
            process.stdin.close()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def dask_worker(address: str, folder: Path, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker more, with other variables."""
    words = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"]
    settings = ["--nthreads", "1", "--local-directory", str(folder)]
    # Elsewhere than the checkout, whose package it would find.
    with open(folder / "worker.log", "w") as log, subprocess.Popen(
        [*words, *settings], stderr=log, stdout=log, env={**os.environ, **environ}, cwd=folder
    ) as process:  # fmt: skip
        try:
            wait_until(lambda: "Registered to" in (folder / "worker.log").read_text(), "the worker is there")
            yield process
        finally:
            process.terminate()
