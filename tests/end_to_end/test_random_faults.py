"""Whatever is done to a session, at whatever moment: nothing is left, nobody else is hurt, and the status is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.faults.ground import namespaces
from tests.support.helpers import CHECKOUT

# The share that each mode has of the faults, those of a round of it, and the rounds on one machine.
MODES = {"faults": (0.7, 1, 50), "storm": (0.2, 20, 10), "reused PIDs": (0.05, 1, 25), "users": (0.05, 1, 25)}
BAD = ("processes", "files", "strangers", "statuses")
COLUMNS = ("faults", "hits", *BAD, "swept")
HEADINGS = (
    "faults",
    "hits",
    "processes left",
    "files left",
    "strangers hurt",
    "wrong statuses",
    "left until next start",
)
WORKERS = 2

can_unshare = subprocess.run([*namespaces(), "true"], capture_output=True)
pytestmark = pytest.mark.skipif(can_unshare.returncode != 0, reason="this machine forbids namespaces")


def rounds(mode: str, seed: int, count: int) -> list[dict[str, Any]]:
    """What has come of *count* rounds, from *seed* on."""
    command = [*namespaces(), sys.executable, "-m", "tests.support.faults", mode, str(seed), str(count)]
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    output = subprocess.run(command, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (output.returncode, output.stderr) == (0, ""), (mode, seed, output.stderr)
    return [json.loads(line) for line in output.stdout.splitlines()]


def assert_nothing_else(results: list[dict[str, Any]]) -> None:
    """Say what should not be, and with which seed that was seen."""
    wrong = [f"{each['mode']}, seed {each['seed']}: {line}" for each in results for line in each["words"]]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("mode", "count"), [("faults", 16), ("storm", 1), ("reused PIDs", 2), ("users", 2)])
def test_random_faults_leave_nothing_and_hurt_nobody(mode: str, count: int) -> None:
    if mode == "users" and os.geteuid() != 0:
        pytest.skip("needs root")
    results = rounds(mode, 0, count)
    if "skipped" in results[0]:
        pytest.skip(results[0]["skipped"])
    assert len(results) == count
    assert sum(each["hits"] for each in results) > 0
    assert_nothing_else(results)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_thousands_of_faults_leave_nothing_and_hurt_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    """SOAK_FAULTS of them, of all modes. SOAK_SEED decides what is done, but not what the machine makes of it."""
    faults, seed = int(os.environ.get("SOAK_FAULTS", "2000")), int(os.environ.get("SOAK_SEED", "1000"))
    batches = []
    for mode, (share, each, limit) in MODES.items():
        count = round(faults * share / each) if mode != "users" or os.geteuid() == 0 else 0
        batches += [(mode, seed + first, min(limit, count - first)) for first in range(0, count, limit)]
    with ThreadPoolExecutor(WORKERS) as pool:
        results = [result for batch in pool.map(lambda batch: rounds(*batch), batches) for result in batch]
    with capsys.disabled():
        print(f"\n{table(results)}")
    assert_nothing_else(results)


def table(results: list[dict[str, Any]]) -> str:
    sums = {mode: Counter[str]() for mode in (*MODES, "all")}
    for result in results:
        if "skipped" not in result:
            for mode in result["mode"], "all":
                sums[mode].update({name: result[name] for name in COLUMNS})
    lines = [("mode", *HEADINGS)] + [(mode, *(str(of[name]) for name in COLUMNS)) for mode, of in sums.items()]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(cell.ljust(width) if not place else cell.rjust(width) for place, (cell, width) in enumerate(row))
        for row in ([*zip(line, widths)] for line in lines)
    )
