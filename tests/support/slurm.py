"""A Slurm of our own: munge, a controller and one node, on loopback, as the user who runs the tests."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.helpers import wait_until

CPUS = 4
# Where the daemons are; ordinary users do not have that on their PATH.
_SEARCH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_DAEMONS = ("munged", "slurmctld", "slurmd")
_OVER = frozenset(("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"))

_MUNGE_FILES = {
    "key-file": "key",
    "socket": "munge.socket",
    "pid-file": "munged.pid",
    "log-file": "munge",
    "seed-file": "seed",
}

# No cgroups and no binding to CPUs: these need rights that a container lacks. The node claims CPUs that it may not
# have, so that two jobs run at a time on every machine.
_CONFIGURATION = """\
ClusterName=anaheadless
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
SlurmdParameters=config_overrides
KillWait=2
MinJobAge=3600
NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=node Default=YES State=UP
"""


class Slurm:
    """What submits jobs, and knows what has become of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"SLURM_CONF": str(folder / "slurm.conf")}

    def call(self, *command: str, environ: Mapping[str, str] = os.environ, folder: Path | None = None) -> str:
        """Run one of Slurm's commands; return what it prints."""
        output = subprocess.run(
            command, env={**environ, **self.environ}, cwd=folder, capture_output=True, text=True, timeout=60
        )
        assert output.returncode == 0, (output, self.said())
        return output.stdout

    def submit(self, script: str, *options: str, environ: Mapping[str, str], folder: Path) -> str:
        """Submit a batch script, which runs in *folder* and writes its output to the file ``job.out`` there."""
        (folder / "job").write_text(script)
        options = ("--parsable", "--output=job.out", "--open-mode=append", *options)
        return self.call("sbatch", *options, "job", environ=environ, folder=folder).strip()

    def states(self, job: str) -> list[str]:
        """Return the states of a job, or of the tasks of an array."""
        return self.call("squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%T").split()

    def wait(self, job: str) -> list[str]:
        """Wait for the end of a job; return the states of its tasks."""
        wait_until(lambda: _OVER.issuperset(self.states(job)), f"job {job} ends", 120)
        return self.states(job)

    def said(self) -> str:
        """Return the ends of the daemons' logs."""
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))


@contextmanager
def running() -> Iterator[Slurm]:
    """Start a Slurm; end it and all its jobs afterwards."""
    programs = {name: shutil.which(name, path=_SEARCH) for name in (*_DAEMONS, "sbatch")}
    for name, path in programs.items():
        if path is None:
            pytest.skip(f"{name} is not installed")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="anaheadless-slurm-"))
        stack.callback(shutil.rmtree, folder)
        folder.chmod(0o755)  # munge wants clients to be able to come in
        for name in "state", "spool":
            (folder / name).mkdir()
        (folder / "key").touch(0o600)
        (folder / "key").write_bytes(secrets.token_bytes(128))
        controller, node = _free_ports()
        text = _CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            folder=folder,
            controller=controller,
            node=node,
            cpus=CPUS,
        )
        (folder / "slurm.conf").write_text(text)
        slurm = Slurm(folder)
        daemons: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, slurm, daemons)
        files = [f"--{name}={folder}/{file}" for name, file in _MUNGE_FILES.items()]
        for name, options in {"munged": ["--foreground", *files], "slurmctld": ["-D"], "slurmd": ["-D"]}.items():
            with open(folder / f"{name}.log", "w") as log:
                command = [str(programs[name]), *options]
                environ = {**os.environ, **slurm.environ}
                daemons.append(subprocess.Popen(command, env=environ, cwd=folder, stdout=log, stderr=log))
            if name == "munged":
                wait_until((folder / "munge.socket").exists, "munge has its socket")
        try:
            wait_until(lambda: _is_idle(slurm), "the node is idle")
        except AssertionError as error:
            raise AssertionError(slurm.said()) from error
        yield slurm


def _is_idle(slurm: Slurm) -> bool:
    output = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], env={**os.environ, **slurm.environ}, capture_output=True, text=True
    )
    return output.stdout == "idle\n"


def _end(slurm: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    """End the jobs first: what watches over one outlives the node's daemon."""
    with suppress(AssertionError):
        slurm.call("scancel", f"--user={getpass.getuser()}")
        wait_until(lambda: slurm.call("squeue", "--noheader") == "", "all jobs have ended")
    for daemon in reversed(daemons):
        daemon.terminate()
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
