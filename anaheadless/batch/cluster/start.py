"""Connecting to a Dask cluster, or starting one."""

from __future__ import annotations

import math
import os
import signal
import threading
from contextlib import AsyncExitStack
from typing import Any

import dask
from distributed import Client, Security

from anaheadless.batch.cluster.address import Cluster, missing
from anaheadless.errors import USAGE, LaunchError
from anaheadless.system.programs import this_python

CONNECT_SECONDS = 10
_CLASSES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "sge": "SGECluster",
}
# What a job asks for where dask-jobqueue's configuration does not say it.
_CORES, _MEMORY = 1, "4 GiB"


async def connect(cluster: Cluster, folder: str, stack: AsyncExitStack) -> Client:
    """Connect to a cluster, and start it if it is to be; *stack* ends what was started.

    :param folder: where all machines of the cluster can read files.
    :raises LaunchError: it can't be reached, or not be started.
    """
    settings: dict[str, Any] = {"address": cluster.value}
    if cluster.kind == "file":
        if not os.path.isfile(cluster.value):
            raise LaunchError(
                f"there is no scheduler file {cluster.value}",
                hint="Start the scheduler with --scheduler-file, and give the same path.",
                exit_code=USAGE,
            )
        settings = {"scheduler_file": cluster.value}
    elif cluster.kind != "address":
        started = await _start(cluster, folder, stack)
        settings = {"address": started.scheduler_address, "security": started.security}
    client = Client(**settings, asynchronous=True, timeout=CONNECT_SECONDS, set_as_default=False)
    stack.push_async_callback(client.close)
    try:
        await client
    except Exception as error:  # of many kinds: of sockets, of TLS, of files that are none
        raise LaunchError(
            f"can't reach the Dask scheduler at {cluster}: {_say(error)}",
            hint="See whether it runs, has about the same version of Dask, and whether tls:// needs certificates: Dask "
            "reads them from its configuration, distributed.comm.tls.",
        ) from error
    return client


async def _start(cluster: Cluster, folder: str, stack: AsyncExitStack) -> Any:
    try:
        security = Security.temporary()
        if cluster.kind == "ssh":
            from anaheadless.batch.cluster import ssh

            made = ssh.make(cluster, security)
        else:
            made = make_batch_cluster(cluster, security, folder, asynchronous=True)
        started = await stack.enter_async_context(made)
        if cluster.kind != "ssh":
            started.scale(jobs=math.ceil((cluster.slots or 1) / threads_of_job(cluster.kind)))
            await started._correct_state()  # until all jobs are submitted: only this tells what was wrong
    except LaunchError:
        raise
    except Exception as error:  # of many kinds, as above
        raise LaunchError(
            f"can't start a Dask cluster by {cluster}: {_say(error)}",
            hint="dask-jobqueue has to know your batch system's commands, and sees ~/.config/dask/jobqueue.yaml.",
        ) from error
    return started


def threads_of_job(kind: str) -> int:
    """Return how many threads the workers of one job have."""
    return int(dask.config.get(f"jobqueue.{kind}.cores", None) or _CORES)


def make_batch_cluster(cluster: Cluster, security: Security, folder: str, *, asynchronous: bool) -> Any:
    """Make a cluster whose workers are jobs of a batch system."""
    dask_jobqueue = load_jobqueue()
    section = f"jobqueue.{cluster.kind}"
    given = dask.config.get(f"{section}.job-extra-directives", None)
    directives: Any = [*(given or ()), *cluster.args]
    if cluster.kind == "htcondor":
        directives = {**(given or {}), **dict(_assignment(arg) for arg in cluster.args)}
    return getattr(dask_jobqueue, _CLASSES[cluster.kind])(
        cores=threads_of_job(cluster.kind),
        memory=dask.config.get(f"{section}.memory", None) or _MEMORY,
        **({"disk": dask.config.get(f"{section}.disk", None) or _MEMORY} if cluster.kind == "htcondor" else {}),
        processes=dask.config.get(f"{section}.processes", None) or 1,
        python=this_python(),
        job_extra_directives=directives,
        log_directory=dask.config.get(f"{section}.log-directory", None) or folder,
        shared_temp_directory=dask.config.get(f"{section}.shared-temp-directory", None) or folder,
        security=security,
        scheduler_options={"dashboard": False, "dashboard_address": ":0"},
        asynchronous=asynchronous,
    )


def _assignment(arg: str) -> tuple[str, str]:
    """Split a line of HTCondor's submit file; :raises LaunchError: it is none."""
    name, equals, value = arg.partition("=")
    if not equals:
        raise LaunchError(
            f"--cluster-arg {arg} is no line of a submit file",
            hint="HTCondor wants NAME=VALUE, such as --cluster-arg=request_gpus=1.",
            exit_code=USAGE,
        )
    return name.strip(), value.strip()


def load_jobqueue() -> Any:
    """Import dask-jobqueue, in the main thread: it sets a handler of SIGINT then (0.9), which is ours to set.

    :raises LaunchError: it is not installed.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise missing(error) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
    return dask_jobqueue


def _say(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
