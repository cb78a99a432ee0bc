"""Jobs of a real Slurm; run by ``make test-slurm``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import helpers, slurm
from tests.support.documentation import BLOCKS
from tests.support.helpers import ANAHEADLESS, BIN, SOCKETS, wait_until
from tests.support.maps import Maps
from tests.support.slurm import Slurm

pytestmark = pytest.mark.slurm

HANG = "import os, time; print(os.environ['DISPLAY'], flush=True); time.sleep(1000)"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with slurm.running() as found:
        yield found


@pytest.fixture
def home(maps: Maps) -> Path:
    """The home of a user whose environment is that of the maps; jobs run there."""
    (maps.folder / "venv").symlink_to(BIN.parent)
    (maps.folder / "pics").mkdir()
    maps.environ["HOME"] = str(maps.folder)
    return maps.folder


def batch(*lines: str) -> str:
    return "\n".join(("#!/bin/bash", *lines, ""))


def hang(cluster: Slurm, maps: Maps, *options: str) -> str:
    """Submit a job that hangs on a display, and wait until it does."""
    maps.script(HANG, "hang.py")
    job = cluster.submit(
        batch(f"{ANAHEADLESS} run --gl none hang.py >display"), *options, environ=maps.environ, folder=maps.folder
    )
    maps.wait_for("display")
    return job


def assert_nothing_is_left(maps: Maps) -> None:
    wait_until(lambda: not maps.left(), "no process is left")
    number = maps.wait_for("display").strip().lstrip(":")
    wait_until(lambda: not (SOCKETS / f"X{number}").exists(), "no socket is left")


def test_the_documented_job_makes_its_picture(cluster: Slurm, maps: Maps, home: Path) -> None:
    maps.script(BLOCKS["hello"], "render.py")
    job = cluster.submit(BLOCKS["slurm"], environ=maps.environ, folder=home)
    assert cluster.wait(job) == ["COMPLETED"], (home / "job.out").read_text()
    assert (home / "hello.png").exists()
    assert not (home / "hung.png").exists()
    wait_until(lambda: not maps.left(), "nothing is left")


def test_the_documented_job_leaves_a_picture_of_what_hangs(cluster: Slurm, maps: Maps, home: Path) -> None:
    maps.script(HANG, "render.py")
    assert BLOCKS["slurm"].count("110m") == 1
    job = cluster.submit(BLOCKS["slurm"].replace("110m", "2s") + " >display", environ=maps.environ, folder=home)
    assert cluster.wait(job) == ["FAILED"]
    assert (home / "hung.png").read_bytes().startswith(b"\x89PNG")
    assert_nothing_is_left(maps)


def test_a_job_over_its_time_limit_leaves_nothing(cluster: Slurm, maps: Maps) -> None:
    """The end is set anew: a limit is a minute at least. Slurm looks at it every half a minute."""
    job = hang(cluster, maps, "--time=1:00:00")
    cluster.call("scontrol", "update", f"jobid={job}", "EndTime=now")
    assert cluster.wait(job) == ["TIMEOUT"]
    assert_nothing_is_left(maps)


def test_a_cancelled_job_leaves_nothing(cluster: Slurm, maps: Maps) -> None:
    job = hang(cluster, maps)
    cluster.call("scancel", job)
    assert cluster.wait(job) == ["CANCELLED"]
    assert_nothing_is_left(maps)


def test_a_job_that_the_node_kills_leaves_nothing(cluster: Slurm, maps: Maps) -> None:
    job = hang(cluster, maps)
    cluster.call("scancel", "--signal=KILL", "--full", job)
    assert cluster.wait(job) != ["COMPLETED"]
    assert_nothing_is_left(maps)


def test_a_cancelled_map_leaves_nothing_and_resumes(cluster: Slurm, maps: Maps) -> None:
    code = "import os, sys, time; open(sys.argv[1], 'w').write('x'); os.path.exists('go') or time.sleep(1000)"
    job = batch(f'{ANAHEADLESS} map --gl none -j 2 -c "{code}" ::: a b c')
    first = cluster.submit(job, environ=maps.environ, folder=maps.folder)
    for name in "ab":
        maps.wait_for(name)
    cluster.call("scancel", first)
    assert cluster.wait(first) == ["CANCELLED"]
    wait_until(lambda: not maps.left(), "nothing is left")
    assert "ok" not in maps.results().values()
    (maps.folder / "go").touch()
    second = cluster.submit(job, environ=maps.environ, folder=maps.folder)
    assert cluster.wait(second) == ["COMPLETED"], (maps.folder / "job.out").read_text()
    assert maps.results() == dict.fromkeys("abc", "ok")


def test_the_documented_array_shares_the_inputs(cluster: Slurm, maps: Maps, home: Path) -> None:
    maps.script(BLOCKS["map-script"], "render.py")
    (home / "subjects.txt").write_text("".join(f"{name}.gii\n" for name in "abcde"))
    job = cluster.submit(BLOCKS["slurm-array"], "--array=1-5:2", environ=maps.environ, folder=home)
    assert cluster.wait(job) == ["COMPLETED"] * 3, (home / "job.out").read_text()
    assert {path.stem for path in (home / "pics").iterdir()} == set("abcde")
    assert sorted(path.name for path in home.glob("*.jsonl")) == [
        f"anaheadless-map-{number}of3.jsonl" for number in (1, 2, 3)
    ]
    command = BLOCKS["slurm-merge"].replace("$ anaheadless ", "").replace("of10", "of3").split()
    journals = sorted(home.glob(command.pop()))
    merged = helpers.run(*command, *journals, cwd=home)
    assert (merged.returncode, merged.stderr) == (0, "")
    assert set(maps.journal(command[-1])) == {f"{name}.gii" for name in "abcde"}


def test_an_array_with_gaps_is_refused(cluster: Slurm, maps: Maps) -> None:
    """Slurm tells its tasks the same as those of --array=3-8: most shards would be nobody's."""
    script = batch(f"{ANAHEADLESS} map --gl none --shard auto -c 0 ::: a b c")
    job = cluster.submit(script, "--array=3,7,8", environ=maps.environ, folder=maps.folder)
    assert cluster.wait(job) == ["FAILED"] * 3
    assert (maps.folder / "job.out").read_text().count("give --shard $SLURM_ARRAY_TASK_ID/N") == 3


@pytest.mark.parametrize("cpus", [1, 2])
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_map_has_as_many_slots_as_the_job_has_cpus(cpus: int, cluster: Slurm, maps: Maps) -> None:
    """There may be more CPUs than those of the job, and nothing else says that the rest is not for it."""
    script = batch(f"""{ANAHEADLESS} map --gl none -c 'import sys; open(sys.argv[1], "w").close()' {{%}} ::: a b c d""")
    job = cluster.submit(script, f"--cpus-per-task={cpus}", environ=maps.environ, folder=maps.folder)
    assert cluster.wait(job) == ["COMPLETED"], (maps.folder / "job.out").read_text()
    assert {path.name for path in maps.folder.iterdir() if path.name.isdecimal()} == {"1", "2"} & set("12"[:cpus])


def test_two_jobs_on_a_node_have_displays_of_their_own(cluster: Slurm, maps: Maps) -> None:
    code = """
import os, sys, time
open(sys.argv[1], "w").write(os.environ["DISPLAY"])
while not os.path.exists(sys.argv[2]): time.sleep(.01)
"""
    maps.script(code)
    jobs = [
        cluster.submit(
            batch(f"{ANAHEADLESS} run --gl none script.py {names}"), environ=maps.environ, folder=maps.folder
        )
        for names in ("one two", "two one")
    ]
    assert [cluster.wait(job) for job in jobs] == [["COMPLETED"]] * 2
    assert maps.wait_for("one") != maps.wait_for("two")


def test_a_map_starts_its_workers_as_jobs_and_ends_them(cluster: Slurm, maps: Maps) -> None:
    pytest.importorskip("dask_jobqueue", reason="needs anaheadless[cluster]")
    # This Slurm does not know how much memory the node has, and so refuses to give any but all.
    maps.environ.update(cluster.environ, DASK_JOBQUEUE__SLURM__JOB_MEM="0")
    maps.script("import os; print(os.environ['SLURM_JOB_ID'], os.environ['DISPLAY'])")
    arguments = ("-j", "2", "--cluster-arg=--comment=vis", "script.py", ":::", "a", "b", "c", "d")
    output = maps.run("--cluster", "slurm", *arguments, timeout=60)
    jobs = {line.split()[0] for line in output.stdout.splitlines()}
    assert set(maps.results().values()) == {"ok"}
    for job in jobs:
        assert (
            cluster.call("squeue", "--noheader", "--states=all", f"--jobs={job}", "--Format=comment").strip() == "vis"
        )
        assert cluster.wait(job) == ["CANCELLED"]
    wait_until(lambda: not maps.left(), "nothing is left")
