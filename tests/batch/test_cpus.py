"""As many items run at a time as there are CPUs for this process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from anaheadless.batch import cpus


@pytest.mark.parametrize(
    ("affinity", "environ", "quotas", "expected"),
    [
        (8, {}, (), 8),
        (8, {}, (2.5, 4.0), 2),
        (8, {}, (0.5,), 1),
        (8, {"SLURM_CPUS_PER_TASK": "3", "SLURM_CPUS_ON_NODE": "64"}, (), 3),
        (2, {"SLURM_CPUS_ON_NODE": "64"}, (), 2),
        (8, {"SLURM_CPUS_PER_TASK": "many"}, (), 8),
        (8, {"NSLOTS": "4"}, (6.0,), 4),
    ],
)
def test_the_tightest_limit_holds(affinity: int, environ: dict[str, str], quotas: tuple[float], expected: int) -> None:
    assert cpus.fewest(affinity, environ, iter(quotas)) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("-1 100000", None), ("", None)]
)
def test_quotas_are_those_of_the_kernel(text: str, expected: float | None) -> None:
    assert cpus.parse_quota(text) == expected


def test_affinity_counts() -> None:
    one = str(min(os.sched_getaffinity(0)))
    code = "import os; os.sched_setaffinity(0, {%s}); from anaheadless.batch import cpus; print(cpus.usable_cpus({}))"
    output = subprocess.run([sys.executable, "-c", code % one], capture_output=True, text=True, check=True)
    assert output.stdout == "1\n"
