"""The measurements: contenders take turns, in another order in every round, each with the machine to itself."""

from __future__ import annotations

import importlib.util
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

from bench import processes
from bench.contenders import WORK, Contender, Mapper, MapScenario, Scenario
from bench.processes import Job
from bench.results import Ending, Memory, Timed

Either = TypeVar("Either", Contender, Mapper)


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


def is_there(contender: Contender | Mapper) -> bool:
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
    found = {contender.name: _nothing_timed() for contender in contenders}
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
        _note(found[contender.name], wall, failures, names)
    return found


def mapped(scenario: MapScenario, mappers: Iterable[Mapper], rounds: int, workspace: Workspace) -> dict[str, Timed]:
    """Measure a scenario with many inputs, by mapper."""
    found = {mapper.name: _nothing_timed() for mapper in mappers}
    for _, mapper in _in_turn(mappers, min(rounds, scenario.rounds), scenario.name):
        job, pictures = _map_job(mapper, scenario, workspace)
        begin = time.time()
        wall, failures = processes.run_all([job], 1, scenario.limit)
        if scenario.inputs == 1 and pictures[0].exists():
            wall = pictures[0].stat().st_mtime - begin
        names = processes.end_all([job], workspace.existing_files)
        _note(found[mapper.name], wall, [failures[0] or _no_picture(picture) for picture in pictures], names)
        shutil.rmtree(job.folder)
    return found


def _nothing_timed() -> Timed:
    return {"seconds": [], "wall": [], "succeeded": [], "failures": {}, "left": {}}


def _note(row: Timed, wall: float, failures: list[str], names: list[str]) -> None:
    """Add a round to a row."""
    row["wall"].append(round(wall, 5))
    row["seconds"].append(None if any(failures) else round(wall, 5))
    row["succeeded"].append(failures.count(""))
    row["failures"] = dict(Counter(row["failures"]) + Counter(filter(None, failures)))
    row["left"] = dict(Counter(row["left"]) + Counter(names))


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


def _in_turn(contenders: Iterable[Either], rounds: int, seed: str) -> Iterator[tuple[int, Either]]:
    for turn in range(rounds):
        order = list(contenders)
        random.Random(f"{seed} {turn}").shuffle(order)
        for contender in order:
            yield turn, contender


def _not_done(job: Job, scenario: Scenario, contender: Contender) -> str:
    """Return why a launch with exit status 0 has not succeeded, or an empty string."""
    if scenario.picture:
        return _no_picture(job.folder / "picture.png")
    return "" if job.display or not contender.display else "no display"


def _no_picture(path: Path) -> str:
    return "" if path.exists() and path.read_bytes().startswith(b"\x89PNG") else "no picture"


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def _job(contender: Contender, work: str, workspace: Workspace) -> Job:
    """Prepare a launch."""
    folder = _new_folder(workspace)
    program = folder / "program.py"
    program.write_text(contender.program(work))
    cache = folder / "cache" if contender.cold else workspace.root / "cache"
    arguments = contender.arguments(sys.executable, str(program))
    return Job((*_found(arguments), str(folder / "picture.png")), _environ(folder, cache, workspace), folder)


def _map_job(mapper: Mapper, scenario: MapScenario, workspace: Workspace) -> tuple[Job, list[Path]]:
    """Prepare the making of many pictures; return their paths, too."""
    folder = _new_folder(workspace)
    for name in "map_scene.py", "map_imports.py", "gl_scene.py":
        shutil.copy(WORK / name, folder)
    pictures = [folder / f"{number}.png" for number in range(scenario.inputs)]
    inputs = folder / "inputs"
    inputs.write_text("".join(f"{picture}\n" for picture in pictures))
    environ = _environ(folder, workspace.root / "cache", workspace) | {"HEAVY": str(scenario.heavy)}
    arguments = mapper.arguments(sys.executable, str(folder / "map_scene.py"), str(inputs))
    return Job(_found(arguments), environ, folder), pictures


def _new_folder(workspace: Workspace) -> Path:
    folder = Path(mkdtemp(dir=workspace.root))
    (folder / "tmp").mkdir()
    return folder


def _environ(folder: Path, cache: Path, workspace: Workspace) -> dict[str, str]:
    """Make the small environment that all contenders get."""
    cache.mkdir(exist_ok=True)
    (workspace.root / "run").mkdir(exist_ok=True, mode=0o700)
    environ = {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME", "LANG", "LC_ALL") if name in os.environ}
    environ |= {"PATH": _path(), "TMPDIR": str(folder / "tmp")}
    return environ | {"XDG_CACHE_HOME": str(cache), "XDG_RUNTIME_DIR": str(workspace.root / "run")}


def _found(arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command line with the path of its program."""
    command = shutil.which(arguments[0], path=_path())
    assert command, arguments
    return (command, *arguments[1:])
