"""How long a launch takes, as ratios to a bare interpreter; `make bench` runs it. The commands take turns, so that a
machine whose speed drifts slows them all alike.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import time

from helpers import ANAHEADLESS, PROGRAMS, holding

ROUNDS = 15
PYTHON = sys.executable
COMMANDS = {
    "python -c pass": [PYTHON, "-c", "pass"],
    "anaheadless --version": [ANAHEADLESS, "--version"],
    "anaheadless run --gl none -c pass": [ANAHEADLESS, "run", "--gl", "none", "-c", "pass"],
    "anaheadless run -c pass": [ANAHEADLESS, "run", "-c", "pass"],
    "anaheadless run, a QOpenGLWidget": [ANAHEADLESS, "run", str(PROGRAMS / "gl_widget.py"), "/dev/null"],
    "xvfb-run -a python -c pass": ["xvfb-run", "-a", PYTHON, "-c", "pass"],
    "xvfb-run -a, a QOpenGLWidget": ["xvfb-run", "-a", PYTHON, str(PROGRAMS / "gl_widget.py"), "/dev/null"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def seconds_to_clean_up() -> float:
    """From a SIGKILL of the target until nothing of its session is left."""
    with holding("--gl", "none") as session:
        session.process.kill()
        start = time.perf_counter()
        while session.left():
            pass
        return time.perf_counter() - start


def main() -> None:
    usable = {name: command for name, command in COMMANDS.items() if shutil.which(command[0])}
    times: dict[str, list[float]] = {name: [] for name in usable}
    for _ in range(ROUNDS + 1):
        for name, command in usable.items():
            times[name].append(seconds(command))
    bare = statistics.median(times["python -c pass"][1:])
    for name, taken in times.items():
        median = statistics.median(taken[1:])  # the first one warms the caches
        print(f"{median / bare:6.1f} x  {1000 * median:6.0f} ms  {name}")
    left = [seconds_to_clean_up() for _ in range(ROUNDS)]
    print(f"{statistics.median(left) / bare:6.1f} x  {1000 * statistics.median(left):6.0f} ms  clean-up after SIGKILL")
    print(f"{'':10}{1000 * max(left):6.0f} ms  the longest of {ROUNDS}")
    with holding() as session:
        memory = session.keeper.memory_full_info()
        print(f"keeper: {memory.pss / 2**20:.1f} MiB proportional, {memory.uss / 2**20:.1f} MiB of its own")


main()
