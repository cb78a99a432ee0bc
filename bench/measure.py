"""The measurements: contenders take turns, in another order in every round, each with the machine to itself."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from bench import processes
from bench.contenders import Contender, Scenario
from bench.processes import Job
from bench.results import Ending, Memory, Timed


@dataclass(frozen=True)
class Workspace:
    """The folder of the benchmark.

    :param root: its path.
    :param existing_files: the files of displays that existed before; they are never removed.
    """

    root: Path
    existing_files: set[str]


ENDINGS = ("by itself", "script killed", "command killed")
DIRTY_ROUNDS = 3  # of a contender that leaves something: each round waits in vain
MEMORY_ROUNDS = 5
HOLD_SECONDS = 30.0
SERVERS = ("Xvfb", "Xwayland", "Xtigervnc", "Xvnc", "Xorg")


def is_there(contender: Contender) -> bool:
    if contender.command:
        return shutil.which(contender.needs, path=_path()) is not None
    return contender.needs == "python" or importlib.util.find_spec(contender.needs) is not None


def reported(contender: Contender, work: str, workspace: Workspace) -> dict[str, str]:
    """Run a work once; return what it prints in lines of the form ``name: value``."""
    job = _job(contender, work, workspace)
    processes.run_all([job], 1, HOLD_SECONDS)
    processes.end_all([job], workspace.existing_files)
    return dict(re.findall(r"^(\w[\w ]*): (.*)$", job.output, re.MULTILINE))


def timed(scenario: Scenario, contenders: Iterable[Contender], rounds: int, workspace: Workspace) -> dict[str, Timed]:
    """Measure a scenario, by contender; the first round, which fills the caches, does not count."""
    found: dict[str, Timed] = {
        c.name: {"seconds": [], "wall": [], "succeeded": [], "failures": {}, "left": {}} for c in contenders
    }
    rounds = min(rounds, scenario.rounds)
    warm_up = 0 if scenario.launches > 1 else 1
    for turn, contender in _in_turn(contenders, rounds + warm_up, scenario.name):
        jobs = [_job(contender, scenario.work, workspace) for _ in range(scenario.launches)]
        wall, failures = processes.run_all(jobs, scenario.at_a_time, scenario.limit)
        names = processes.end_all(jobs, workspace.existing_files)
        failures = [why or _not_done(job, scenario, contender) for why, job in zip(failures, jobs)]
        for job in jobs:
            shutil.rmtree(job.folder)
        if turn < warm_up:
            continue
        row = found[contender.name]
        row["wall"].append(round(wall, 5))
        row["seconds"].append(None if any(failures) else round(wall, 5))
        row["succeeded"].append(failures.count(""))
        row["failures"] = dict(Counter(row["failures"]) + Counter(filter(None, failures)))
        row["left"] = dict(Counter(row["left"]) + Counter(names))
    return found


def ends(contenders: Iterable[Contender], rounds: int, workspace: Workspace) -> dict[str, dict[str, Ending]]:
    """Measure what is left when a program ends, and when it, or the command that has started it, is killed."""
    found: dict[str, dict[str, Ending]] = {
        c.name: {ending: {"seconds": [], "left": {}} for ending in ENDINGS} for c in contenders
    }
    for ending in ENDINGS:
        for turn, contender in _in_turn(contenders, rounds, ending):
            row = found[contender.name][ending]
            if turn >= DIRTY_ROUNDS and row["left"]:
                continue
            job = _job(contender, "hold", workspace)
            seconds, left = _ended(job, ending)
            processes.end_all([job], workspace.existing_files, patience=0)
            shutil.rmtree(job.folder)
            row["seconds"].append(seconds and round(seconds, 5))
            row["left"] = dict(Counter(row["left"]) + Counter(left))
    return found


def _ended(job: Job, ending: str) -> tuple[float | None, set[str]]:
    """End *job*; return the seconds until nothing was left of it, or else what was left."""
    with processes.started(job, HOLD_SECONDS) as (pid, pipe):
        if not job.target:
            return None, {"not started"}
        if ending == ENDINGS[0]:
            pipe.close()
        else:
            os.kill(job.target if ending == ENDINGS[1] else pid, signal.SIGKILL)
        seconds = processes.wait_until(lambda: not processes.leftovers(job))
        return seconds, processes.leftovers(job) if seconds is None else set()


def memory(contenders: Iterable[Contender], rounds: int, workspace: Workspace) -> dict[str, Memory]:
    found: dict[str, Memory] = {c.name: {"server": [], "beside": [], "target": []} for c in contenders}
    for _, contender in _in_turn(contenders, min(rounds, MEMORY_ROUNDS), "memory"):
        job = _job(contender, "hold", workspace)
        with processes.started(job, HOLD_SECONDS) as (_, _pipe):
            if job.target:
                sizes = {"server": 0.0, "beside": 0.0, "target": 0.0}
                for pid in processes.descendants():
                    is_server = processes.name_of(pid).startswith(SERVERS)
                    kind = "target" if pid == job.target else "server" if is_server else "beside"
                    sizes[kind] += processes.proportional_set(pid)
                row = found[contender.name]
                row["server"].append(round(sizes["server"], 2))
                row["beside"].append(round(sizes["beside"], 2))
                row["target"].append(round(sizes["target"], 2))
        processes.end_all([job], workspace.existing_files)
        shutil.rmtree(job.folder)
    return found


def _in_turn(contenders: Iterable[Contender], rounds: int, seed: str) -> Iterator[tuple[int, Contender]]:
    for turn in range(rounds):
        order = list(contenders)
        random.Random(f"{seed} {turn}").shuffle(order)
        for contender in order:
            yield turn, contender


def _not_done(job: Job, scenario: Scenario, contender: Contender) -> str:
    """Return why a launch with exit status 0 has not succeeded, or an empty string."""
    if scenario.picture:
        picture = job.folder / "picture.png"
        return "" if picture.exists() and picture.read_bytes().startswith(b"\x89PNG") else "no picture"
    return "" if job.display or not contender.display else "no display"


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def _job(contender: Contender, work: str, workspace: Workspace) -> Job:
    """Prepare a launch; all contenders get the same small environment."""
    folder = Path(mkdtemp(dir=workspace.root))
    (folder / "tmp").mkdir()
    cache = folder / "cache" if contender.cold else workspace.root / "cache"
    cache.mkdir(exist_ok=True)
    (workspace.root / "run").mkdir(exist_ok=True, mode=0o700)
    program = folder / "program.py"
    program.write_text(contender.program(work))
    environ = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL") if name in os.environ}
    environ |= {"PATH": _path(), "TMPDIR": str(folder / "tmp")}
    environ |= {"XDG_CACHE_HOME": str(cache), "XDG_RUNTIME_DIR": str(workspace.root / "run")}
    first, *rest = contender.arguments(sys.executable, str(program))
    command = shutil.which(first, path=_path())
    assert command, first
    return Job((command, *rest, str(folder / "picture.png")), environ, folder)
