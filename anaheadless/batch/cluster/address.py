"""What ``--cluster`` names; nothing of Dask is needed for that."""

from __future__ import annotations

import re
from dataclasses import dataclass

from anaheadless.errors import USAGE, LaunchError

# What anaheadless has Dask start by dask-jobqueue.
BATCH_SYSTEMS = ("slurm", "pbs", "lsf", "htcondor", "sge")
METAVAR = "ADDRESS|FILE.json|ssh:HOST,...|" + "|".join(BATCH_SYSTEMS)


@dataclass(frozen=True)
class Cluster:
    """A cluster that is there, or is to be started.

    :param kind: ``address`` or ``file``: of a scheduler that is there; ``ssh``; or one of BATCH_SYSTEMS.
    :param value: the address, the path, or the hosts with commas between.
    :param args: further arguments: of ssh, or of the batch system.
    :param slots: how many items are to run at a time at most, or None for as many as the cluster takes.
    """

    kind: str
    value: str
    args: tuple[str, ...] = ()
    slots: int | None = None

    def __str__(self) -> str:
        return self.value if self.kind in ("address", "file") else f"{self.kind}:{self.value}".rstrip(":")


def parse(text: str) -> Cluster:
    """Parse the value of ``--cluster``; :raises ValueError: with a sentence that says what would do."""
    if text in BATCH_SYSTEMS:
        return Cluster(text, "")
    if re.fullmatch(r"(tcp|tls)://[\w.\-\[\]:]+:\d{1,5}", text, re.ASCII):
        return Cluster("address", text)
    kind, colon, hosts = text.partition(":")
    # A host that begins with a hyphen would be an option of ssh.
    if kind == "ssh" and colon and all(re.fullmatch(r"[\w@][\w@.:%\-]*", host) for host in hosts.split(",")):
        return Cluster("ssh", hosts)
    if text.endswith(".json"):
        return Cluster("file", text)
    raise ValueError(
        f"{text!r} names no cluster: give a scheduler's address, such as tls://HOST:PORT or tcp://HOST:PORT, its "
        f"scheduler file (.json), ssh:HOST,HOST, or {', '.join(BATCH_SYSTEMS[:-1])} or {BATCH_SYSTEMS[-1]}."
    )


def missing(error: ImportError) -> LaunchError:
    """Return the error for a part of the extra that is not installed."""
    return LaunchError(
        f"--cluster needs {error.name}, which is not installed",
        hint="pip install 'anaheadless[cluster]'",
        exit_code=USAGE,
    )
