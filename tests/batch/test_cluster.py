"""Maps on a Dask cluster: as on this machine; and what happens when parts of the cluster are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from anaheadless import __version__
from anaheadless.batch.cluster import address
from tests.support.clusters import DaskCluster, dask_cluster, dask_worker
from tests.support.helpers import run_python, wait_until
from tests.support.maps import Maps

pytest.importorskip("distributed", reason="needs anaheadless[cluster]")

DRAW = """
import sys
from PyQt5.QtWidgets import QApplication, QLabel
app = QApplication([])
label = QLabel(sys.argv[1])
label.show()
label.grab().save(sys.argv[2])
print("drawn", sys.argv[1])
"""
# Once, it kills one of the processes that it has to thank for its life: 1: the worker of its slot, 2: the process of
# the slot, 3: Dask's worker, or "keeper".
KILL = """
import os, signal, sys, time
import anaheadless.session.discovery
def parent(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
print(os.environ["DISPLAY"])
if not os.path.exists("killed"):
    if sys.argv[1] == "keeper":
        pid = int(os.environ["ANAHEADLESS_SESSION"].split(",")[1])
    else:
        pid = os.getpid()
        for _ in range(int(sys.argv[1])):
            pid = parent(pid)
    open("killed", "w").write(os.environ["DISPLAY"])
    os.kill(pid, signal.SIGKILL)
    time.sleep(1000)
"""
SLEEP = """
import os, sys, time
open(sys.argv[1] + ".pid", "w").write(str(os.getpid()))
while not os.path.exists("go"):
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@pytest.mark.parametrize(
    "options",
    [pytest.param((), marks=pytest.mark.soak), ("--preload", "PyQt5.QtWidgets")],
    ids=["plain", "preload"],
)
def test_pictures_are_those_of_this_machine(maps: Maps, cluster: DaskCluster, options: tuple[str, ...]) -> None:
    maps.script(DRAW)
    here = maps.run("--journal", "here", *options, "script.py", "{}", "{}-here.png", ":::", "a", "b", "c")
    where = cluster.address
    if options:
        where = "scheduler.json"
        (maps.folder / where).write_text(json.dumps({"address": cluster.address}))
    there = maps.run(
        "--cluster", where, "--journal", "there", "--expect", "{}-there.png", *options,
        "script.py", "{}", "{}-there.png", ":::", "a", "b", "c",
    )  # fmt: skip
    assert sorted(there.stdout.splitlines()) == sorted(here.stdout.splitlines()) == ["drawn a", "drawn b", "drawn c"]
    for name in "abc":
        made = maps.folder / f"{name}-there.png"
        assert made.read_bytes() == (maps.folder / f"{name}-here.png").read_bytes()
        line = maps.journal("there")[name]
        assert (line["result"], line["host"], line["outputs"]) == ("ok", os.uname().nodename, [made.name])
        assert Path(line["stdout"]).read_text() == f"drawn {name}\n"
        assert Path(line["stdout"]).parent == maps.folder / "there.logs"
        assert line["memory"] > 1 << 20
    cluster.wait_until_nothing_is_left()


@pytest.mark.soak
def test_an_item_that_hangs_is_ended_and_its_picture_comes_home(maps: Maps, cluster: DaskCluster) -> None:
    maps.script(SLEEP)
    options = ("--cluster", cluster.address, "--timeout", "1", "--display", "own", "-j", "1")
    maps.run(*options, "script.py", ":::", "a", status=1)
    line = maps.journal()["a"]
    assert line["result"] == "timeout"
    assert Path(line["screenshot"]).read_bytes().startswith(b"\x89PNG")
    assert Path(line["screenshot"]).parent == maps.folder / "anaheadless-map.logs"


@pytest.mark.soak
def test_values_come_home_to_python(maps: Maps, cluster: DaskCluster) -> None:
    maps.script("def double(text):\n    print('said')\n    return 2 * text\n", "functions.py")
    code = f"""if True:
        import functions, anaheadless
        found = anaheadless.map(functions.double, "ab", gl="none", cluster="{cluster.address}")
        print(sorted((each.value, each.stdout) for each in found))
        """
    output = run_python("-c", code, cwd=maps.folder)
    assert output.stdout == "[('aa', 'said\\n'), ('bb', 'said\\n')]\n", output


@pytest.mark.soak
def test_a_function_stays_and_its_values_come_home(maps: Maps, cluster: DaskCluster) -> None:
    maps.script("import os, sys\ndef f(text):\n    print(os.getpid())\n", "function.py")
    maps.run("--cluster", cluster.address, "-j", "1", "--call", "function.py:f", ":::", "a", "b")
    pids = {Path(line["stdout"]).read_text() for line in maps.journal().values()}
    assert len(pids) == 1


@pytest.mark.parametrize(
    "victim",
    [pytest.param("1", marks=pytest.mark.soak), pytest.param("2", marks=pytest.mark.soak), "3"],
    ids=["worker of the slot", "slot", "worker of Dask"],
)
def test_an_item_whose_worker_is_killed_runs_again(maps: Maps, cluster: DaskCluster, victim: str) -> None:
    maps.script(KILL)
    maps.run("--cluster", cluster.address, "script.py", ":::", victim)
    line = maps.journal()[victim]
    assert (line["result"], line["tries"]) == ("ok", 2)
    cluster.wait_until_nothing_is_left()


@pytest.mark.soak
def test_a_slot_whose_keeper_is_killed_is_replaced(maps: Maps, cluster: DaskCluster) -> None:
    maps.script(KILL)
    maps.run("--cluster", cluster.address, "-j", "1", "--timeout", "2", "--retries", "1", "script.py", ":::", "keeper")
    line = maps.journal()["keeper"]
    assert (line["result"], line["tries"]) == ("ok", 2)
    assert Path(line["stdout"]).read_text().strip() != (maps.folder / "killed").read_text()


@pytest.mark.soak
def test_when_the_scheduler_is_killed_the_map_ends_and_its_journal_goes_on(maps: Maps, tmp_path: Path) -> None:
    maps.script(SLEEP + "if sys.argv[1] != 'done': time.sleep(1000 * (not os.path.exists('again')))")
    with dask_cluster(tmp_path) as own:
        with maps.running("--cluster", own.address, "-j", "2", "script.py", ":::", "done", "b") as process:
            maps.wait_for("b.pid")
            (maps.folder / "go").touch()
            wait_until(lambda: "ok" in maps.results().values(), "one is done")
            own.process.kill()
            _, said = process.communicate(timeout=60)
        assert process.returncode == 125, said
        assert f"the Dask scheduler at {own.address} does not answer any more" in said
        own.wait_until_nothing_is_left()
    (maps.folder / "again").touch()
    assert maps.results() == {"done": "ok"}
    assert "1 of 2 items are done already" in maps.run("script.py", ":::", "done", "b").stderr
    assert maps.results() == {"done": "ok", "b": "ok"}


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_on_the_workers_when_the_mapper_ends(
    maps: Maps, cluster: DaskCluster, number: signal.Signals
) -> None:
    maps.script(SLEEP)
    with maps.running("--cluster", cluster.address, "script.py", ":::", "a", "b") as process:
        for name in "ab":
            maps.wait_for(f"{name}.pid")
        assert cluster.left()
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == -number
    cluster.wait_until_nothing_is_left()
    assert maps.results() == {}


@pytest.mark.parametrize(
    ("version", "words"),
    [("'0.0.9'", "has anaheadless 0.0.9"), pytest.param(None, "has no anaheadless", marks=pytest.mark.soak)],
)
def test_workers_that_lack_this_version_are_refused(
    maps: Maps, cluster: DaskCluster, tmp_path: Path, version: str | None, words: str
) -> None:
    maps.script("print('never')")
    fake = tmp_path / "fake"
    fake.mkdir()
    if version is None:
        (fake / "sitecustomize.py").write_text("import sys\nsys.modules['anaheadless'] = None\n")
    else:
        (fake / "anaheadless.py").write_text(f"__version__ = {version}\n")
    with dask_worker(cluster.address, tmp_path, PYTHONPATH=str(fake)) as worker:
        output = maps.run("--cluster", cluster.address, "script.py", ":::", "a", status=125)
        worker.terminate()
        worker.wait()
    assert "some workers of the cluster can't run this map" in output.stderr
    assert f"{os.uname().nodename} {words}" in output.stderr
    assert f"Each needs anaheadless {__version__}, Python {sys.version_info[0]}.{sys.version_info[1]}" in output.stderr
    assert output.stdout == ""


def test_another_python_is_refused() -> None:
    from anaheadless.batch.cluster import link

    ours = list(sys.version_info[:2])
    assert link.judge([ours, "node7", __version__]) == ""
    assert link.judge([[3, 7], "node7", __version__]) == "node7 has Python 3.7"


def test_gpus_are_handed_out_to_the_slots_of_a_machine() -> None:
    from anaheadless.batch.cluster.link import Worker, choose_gpu

    gpus = (("0", "GPU-a"), ("1", "GPU-b"))
    worker = Worker("tcp://x:1", "node7", 3, gpus)
    taken: list[tuple[str, str] | None] = []
    for _ in range(3):
        taken.append(choose_gpu(worker, taken))
    assert taken == [gpus[0], gpus[1], gpus[0]]
    assert choose_gpu(Worker("tcp://x:1", "node7", 3, ()), taken) is None


# Stand-ins for the programs that start workers elsewhere: they start them here.
SSH = """#!/bin/sh
while [ "$1" != -- ]; do echo "$1" >> "$TOLD"; shift; done
echo "$2" >> "$TOLD"
cd / && exec sh -c "$3"
"""
SBATCH = """#!/bin/sh
cp "$1" "$TOLD"
setsid sh "$TOLD" > /dev/null 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -- "-$1"
"""


def stand_in(maps: Maps, **programs: str) -> Path:
    for name, text in programs.items():
        path = maps.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    maps.environ["PATH"] = f"{maps.folder / 'bin'}:{maps.environ['PATH']}"
    maps.environ["TOLD"] = str(maps.folder / "told")
    return maps.folder / "told"


def test_ssh_starts_workers_whose_key_nobody_sees(maps: Maps) -> None:
    told = stand_in(maps, ssh=SSH)
    maps.script(SLEEP)
    options = ("--cluster", "ssh:localhost,me@localhost", "--cluster-arg=-p2222", "-j", "2")
    with maps.running(*options, "script.py", ":::", "a", "b") as process:
        for name in "ab":
            maps.wait_for(f"{name}.pid")
        commands = [" ".join(each.cmdline()) for each in maps.left()]
        assert any("ssh_worker" in command for command in commands)
        assert not any("PRIVATE KEY" in command for command in commands)
        (maps.folder / "go").touch()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert maps.results() == {"a": "ok", "b": "ok"}
    assert {"-p2222", "localhost", "me@localhost"} <= set(told.read_text().splitlines())


@pytest.mark.soak
def test_nothing_is_left_of_workers_of_ssh_when_the_mapper_is_killed(maps: Maps) -> None:
    stand_in(maps, ssh=SSH)
    maps.script(SLEEP)
    with maps.running("--cluster", "ssh:localhost", "script.py", ":::", "a") as process:
        maps.wait_for("a.pid")
        process.kill()
        process.communicate()
        wait_until(lambda: not maps.left(), "nothing is left")


@pytest.mark.soak
def test_nothing_is_left_of_a_worker_without_a_nanny_when_the_scheduler_is_killed(maps: Maps, tmp_path: Path) -> None:
    maps.script(SLEEP)
    with dask_cluster(tmp_path, workers=0) as own, dask_worker(own.address, tmp_path) as worker:
        with maps.running("--cluster", own.address, "--grace", "1", "script.py", ":::", "a") as process:
            pid = int(maps.wait_for("a.pid"))
            own.process.kill()
            process.communicate(timeout=60)
        wait_until(lambda: not psutil.pid_exists(pid), "the item has ended")
        wait_until(lambda: worker.poll() is not None, "the worker has ended")


@pytest.mark.soak
def test_what_ssh_says_is_passed_on(maps: Maps) -> None:
    stand_in(maps, ssh="#!/bin/sh\necho 'no route to host' >&2\nexit 255\n")
    maps.script("")
    output = maps.run("--cluster", "ssh:far", "script.py", ":::", "a", status=125)
    assert "no worker can be started by ssh on far" in output.stderr
    assert "| no route to host" in output.stderr


@pytest.mark.soak
def test_a_batch_system_starts_workers(maps: Maps) -> None:
    pytest.importorskip("dask_jobqueue")
    told = stand_in(maps, sbatch=SBATCH, scancel=SCANCEL)
    maps.script("print(1)")
    maps.run("--cluster", "slurm", "--cluster-arg=--partition=vis", "-j", "1", "script.py", ":::", "a")
    script = told.read_text()
    assert "#SBATCH --partition=vis\n" in script
    assert re.search(re.escape(f"{sys.prefix}/bin/python") + r"[\d.]* -m distributed.cli.dask_worker tls://", script)
    assert "--tls-key" in script
    assert "PRIVATE KEY" not in script
    assert [path.name for path in (maps.folder / "anaheadless-map.logs").iterdir()] == [
        Path(maps.journal()["a"]["stdout"]).name
    ]


@pytest.mark.soak
@pytest.mark.soak
def test_what_a_batch_system_says_is_passed_on(maps: Maps) -> None:
    pytest.importorskip("dask_jobqueue")
    stand_in(maps, sbatch="#!/bin/sh\necho 'sbatch: error: no such partition' >&2\nexit 1\n", scancel=SCANCEL)
    maps.script("")
    output = maps.run("--cluster", "slurm", "-j", "2", "script.py", ":::", "a", status=125)
    assert "can't start a Dask cluster by slurm" in output.stderr
    assert "no such partition" in output.stderr


@pytest.mark.soak
@pytest.mark.parametrize("kind", address.BATCH_SYSTEMS)
def test_jobs_have_the_arguments_of_the_batch_system(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue")
    code = """if True:
        import json, sys
        from distributed import Security
        from anaheadless.batch.cluster import address, start
        made = address.Cluster(sys.argv[1], "", ("special=1",), 1)
        with start.make_batch_cluster(made, Security.temporary(), ".", asynchronous=False) as cluster:
            print(cluster.job_script(), getattr(cluster._dummy_job, "job_header_dict", ""))
        """
    output = run_python("-W", "ignore", "-c", code, kind, cwd=tmp_path)
    assert re.search("special.*1", output.stdout), output


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("tcp://10.0.0.1:8786", "address", "tcp://10.0.0.1:8786"),
        ("tls://[::1]:8786", "address", "tls://[::1]:8786"),
        ("scheduler.json", "file", "scheduler.json"),
        ("ssh:a,me@b", "ssh", "a,me@b"),
        ("slurm", "slurm", ""),
    ],
)
def test_clusters_are_named(text: str, kind: str, value: str) -> None:
    assert address.parse(text) == address.Cluster(kind, value)
    assert str(address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "moab", "ssh:", "ssh:-oProxyCommand=evil", "tcp://x", "http://x:1", "ssh:a,,b"])
def test_what_names_no_cluster_is_refused(maps: Maps, text: str) -> None:
    with pytest.raises(ValueError, match="names no cluster"):
        address.parse(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cluster", "nowhere"), "names no cluster"),
        (("--cluster", "slurm"), "needs -j N"),
        (("--cluster-arg=x",), "--cluster-arg needs"),
        (("--cluster", "tcp://localhost:1", "--cluster-arg=x"), "--cluster-arg needs"),
        (("--cluster", "missing.json"), "there is no scheduler file missing.json"),
    ],
)
def test_options_that_make_no_sense_are_refused(maps: Maps, options: tuple[str, ...], words: str) -> None:
    maps.script("")
    assert words in maps.run(*options, "script.py", ":::", "a", status=2).stderr


@pytest.mark.soak
def test_a_scheduler_that_can_not_be_reached_is_named(maps: Maps) -> None:
    maps.script("")
    output = maps.run("--cluster", "tcp://127.0.0.1:1", "script.py", ":::", "a", status=125)
    assert "can't reach the Dask scheduler at tcp://127.0.0.1:1" in output.stderr
