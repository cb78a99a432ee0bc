"""The CPUs that this process may use: how many slots a map has, unless it is told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress

# One of these holds a job's share of its node; the first one that is set counts.
_VARIABLES = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "NSLOTS", "PBS_NCPUS", "LSB_DJOB_NUMPROC")
_CGROUPS = "/sys/fs/cgroup"


def usable_cpus(environ: Mapping[str, str]) -> int:
    """Count the CPUs that affinity, control groups and the batch system leave to this process; at least one."""
    return fewest(len(os.sched_getaffinity(0)), environ, _quotas())


def fewest(affinity: int, environ: Mapping[str, str], quotas: Iterator[float]) -> int:
    """Choose the tightest limit: pure.

    :param quotas: CPUs that each control group may use.
    """
    limits = [float(affinity), *quotas]
    granted = next((environ[name] for name in _VARIABLES if environ.get(name)), "")
    if re.fullmatch(r"[1-9]\d{0,5}", granted, re.ASCII):
        limits.append(float(granted))
    return max(1, int(min(limits)))


def parse_quota(text: str) -> float | None:
    """Parse a cgroup's cpu.max, ``QUOTA PERIOD``, as CPUs; None: there is no limit."""
    match = re.fullmatch(r"(\d+) ([1-9]\d*)\s*", text, re.ASCII)
    return int(match[1]) / int(match[2]) if match else None


def _quotas() -> Iterator[float]:
    """Read the limits of the control groups that this process is in, version 2 and version 1."""
    with suppress(OSError, UnicodeDecodeError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if not controllers:
                parts = path.strip("/").split("/") if path != "/" else []
                for depth in range(len(parts) + 1):  # those around it limit it, too
                    yield from _read_quota(os.path.join(_CGROUPS, *parts[:depth], "cpu.max"))
            elif "cpu" in controllers.split(","):
                # In a container, the path is that of the host, and what is mounted is our own group.
                for folder in dict.fromkeys((f"{_CGROUPS}/cpu{path}", f"{_CGROUPS}/cpu")):
                    yield from _read_quota(f"{folder}/cpu.cfs_quota_us", f"{folder}/cpu.cfs_period_us")


def _read_quota(*paths: str) -> Iterator[float]:
    texts = []
    with suppress(OSError):
        for path in paths:
            with open(path) as file:
                texts.append(file.read().strip())
        quota = parse_quota(" ".join(texts))
        if quota:
            yield quota
