"""A map runs a program for many inputs, and tells what came of each."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helpers import ANAHEADLESS
from tests.support.maps import Maps
from tests.support.namespaces import in_namespaces, needs_namespaces

SHOW = "import os, sys; print(os.environ['DISPLAY'], *sys.argv[1:])"


def test_each_input_gets_its_run(maps: Maps) -> None:
    maps.script("import sys; print(ascii(sys.argv))")
    inputs = ["a/b.c", "with blank", "new\nline", os.fsdecode(b"\xff.png"), "{}", "-x", "$HOME;*"]
    output = maps.run("-j2", "script.py", "--out", "{/.}", "{}", ":::", *inputs)
    shown = sorted(output.stdout.splitlines())
    names = ["b", "with blank", "new\nline", "\udcff", "{}", "-x", "$HOME;*"]
    assert shown == sorted(ascii(["script.py", "--out", name, value]) for name, value in zip(names, inputs))
    assert {name: line["result"] for name, line in maps.journal().items()} == dict.fromkeys(inputs, "ok")


def test_inputs_may_come_by_standard_input_and_from_tables(maps: Maps) -> None:
    assert maps.run("-j1", "-c", SHOW + "#", input="a\nb\n", stdin=None).stdout.split()[1::2] == ["a", "b"]
    (maps.folder / "t.csv").write_text("id,hemi\n1,left\n2,right\n")
    output = maps.run("--journal", "t.jsonl", "-j1", "--inputs", "t.csv", "--", maps.script(SHOW), "{hemi}-{id}")
    assert [line.split()[1] for line in output.stdout.splitlines()] == ["left-1", "right-2"]
    output = maps.run("--journal", "g.jsonl", "--glob", "*.csv", "script.py", "{.}")
    assert output.stdout.split()[1] == "t"
    data = b"x\ny\0z\0"
    output = maps.run(
        "--journal", "0.jsonl", "-0", "-j1", "-c", "import sys; print(sys.argv[1:])", input=data.decode(), stdin=None
    )
    assert output.stdout == "['x\\ny']\n['z']\n"


def test_what_items_say_comes_out_whole(maps: Maps) -> None:
    """Both run at the same time, and write in turn; each waits for the other's line."""
    script = """
import os, sys, time
me, other = sys.argv[1:]
for turn in range(5):
    print(me, turn, flush=True)
    print(me, turn, file=sys.stderr, flush=True)
    open(f"{me}{turn}", "w").close()
    while not os.path.exists(f"{other}{turn}"):
        time.sleep(0.001)
"""
    (maps.folder / "pairs.tsv").write_text("me\tother\na\tb\nb\ta\n")
    output = maps.run("-j2", "--inputs", "pairs.tsv", "--", maps.script(script), "{me}", "{other}")
    for text in output.stdout, output.stderr:
        names = "".join(re.findall(r"^([ab]) \d$", text, re.MULTILINE))
        assert names in ("aaaaabbbbb", "bbbbbaaaaa")


def test_quiet_leaves_it_in_files(maps: Maps) -> None:
    output = maps.run("--quiet", "-c", "import sys; print(1); print(2, file=sys.stderr)", ":::", "a")
    assert output.stdout == ""
    assert "2\n" not in output.stderr
    line = maps.journal()["a"]
    assert [Path(line[name]).read_text() for name in ("stdout", "stderr")] == ["1\n", "2\n"]


def test_files_are_only_kept_of_what_was_said(maps: Maps) -> None:
    maps.run("-c", "pass", ":::", "a", "b")
    assert list((maps.folder / "anaheadless-map.logs").iterdir()) == []
    assert maps.journal()["a"]["stdout"] is None


def test_a_slots_items_share_a_display_and_slots_do_not(maps: Maps) -> None:
    script = maps.script(SHOW)
    shown = [line.split() for line in maps.run("-j1", script, "{%}", ":::", *"abc").stdout.splitlines()]
    assert [slot for _, slot in shown] == ["1"] * 3
    assert len({display for display, _ in shown}) == 1
    output = maps.run("-j1", "--display", "own", "--no-resume", script, "{%}", ":::", *"abc")
    assert len({line.split()[0] for line in output.stdout.splitlines()}) == 3


def test_what_came_of_each_is_in_the_journal(maps: Maps) -> None:
    script = """
import os, signal, sys
big = bytearray(50 << 20)
how = sys.argv[1]
if how == "status": sys.exit(7)
if how == "signal": os.kill(os.getpid(), signal.SIGSEGV)
if how == "error": raise ValueError("no such brain")
"""
    output = maps.run("-j1", maps.script(script), ":::", "well", "status", "signal", "error", status=1)
    found = maps.journal()
    assert maps.results() == {"well": "ok", "status": "failed", "signal": "killed", "error": "failed"}
    assert [(line["status"], line["signal"]) for line in found.values()] == [
        (0, None),
        (7, None),
        (None, 11),
        (1, None),
    ]
    interpreter, *words = found["well"]["command"]
    assert (os.path.samefile(interpreter, sys.executable), words) == (True, ["script.py", "well"])
    assert found["well"]["memory"] > 50 << 20
    assert found["well"]["host"] == os.uname().nodename
    assert found["well"]["backend"] == "none"
    assert "no such brain" in Path(found["error"]["stderr"]).read_text()
    assert "item 3 (signal) was ended by SIGSEGV" in output.stderr
    assert "1 of 4 items are done, 3 failed" in output.stderr


def test_the_same_command_again_runs_what_is_not_done(maps: Maps) -> None:
    script = maps.script("import os, sys; print(sys.argv[1]); sys.exit(not os.path.exists(sys.argv[1]))")
    (maps.folder / "a").touch()
    assert sorted(maps.run(script, ":::", "a", "b", "c", status=1).stdout.split()) == ["a", "b", "c"]
    (maps.folder / "b").touch()
    output = maps.run(script, ":::", "c", "b", "a", "b", status=1)
    assert sorted(output.stdout.split()) == ["b", "b", "c"]
    assert "1 of 4 items are done already" in output.stderr
    assert sorted(maps.run("--no-resume", script, ":::", "a", "b", "c", status=1).stdout.split()) == ["a", "b", "c"]
    output = maps.run(script, "--other", "{}", ":::", "a", status=2)
    assert "tells of another command: script.py {}" in output.stderr
    assert "--no-resume" in output.stderr


def test_expected_files_say_what_is_done(maps: Maps) -> None:
    script = maps.script("import sys; print(sys.argv[1]); 'bad' in sys.argv[1] or open(sys.argv[2], 'w').close()")
    for name in "a.in", "b.in", "bad.in":
        (maps.folder / name).touch()
    args = ("--expect", "{.}.out", script, "{}", "{.}.out", ":::", "a.in", "b.in", "bad.in")
    maps.run(*args, status=1)
    assert maps.results() == {"a.in": "ok", "b.in": "ok", "bad.in": "missing"}
    assert maps.journal()["a.in"]["outputs"] == ["a.out"]
    (maps.folder / "a.out").unlink()
    later = (maps.folder / "b.out").stat().st_mtime_ns + 3600 * 10**9
    os.utime(maps.folder / "b.in", ns=(later, later))
    (maps.folder / "bad.out").touch()  # by hand
    assert sorted(maps.run(*args, status=1).stdout.split()) == ["a.in", "b.in"]
    # What b has made is still older than its input.
    assert maps.results() == {"a.in": "ok", "b.in": "missing", "bad.in": "ok"}
    (maps.folder / "anaheadless-map.jsonl").unlink()
    assert maps.run(*args, status=1).stdout == "b.in\n"
    found = maps.journal()
    assert {name: (each["result"], each["outputs"]) for name, each in found.items()} == {
        "a.in": ("ok", ["a.out"]),
        "b.in": ("missing", []),
        "bad.in": ("ok", ["bad.out"]),
    }


def test_blank_pictures_are_failures_where_that_is_asked_for(maps: Maps) -> None:
    script = """
import sys
from PyQt5.QtGui import QImage, qRgb
kind, path = sys.argv[1:]
image = QImage(40, 30, QImage.Format_RGB32)
image.fill(qRgb(1, 2, 3))
if kind == "drawn":
    image.setPixel(39, 29, qRgb(1, 2, 4))
image.save(path)
if kind == "cut":
    open(path, "w").write("no picture")
"""
    args = (
        "--expect",
        "{} é.png",
        maps.script(script),
        "{}",
        "{} é.png",
        ":::",
        "drawn",
        "plain",
        "cut",
        "black",
    )
    maps.run("--blank-is-failure", *args, status=1)
    assert maps.results() == {"drawn": "ok", "plain": "blank", "cut": "ok", "black": "blank"}
    maps.run("--no-resume", *args)
    assert set(maps.results().values()) == {"ok"}
    assert "needs --expect" in maps.run("--blank-is-failure", "-c", "0", ":::", "a", status=2).stderr


def test_failures_are_tried_again(maps: Maps) -> None:
    script = "import os, sys; os.mkdir(sys.argv[1]) if not os.path.exists(sys.argv[1]) else sys.exit(0); sys.exit(1)"
    output = maps.run("--retries", "1", maps.script(script), ":::", "a")
    assert maps.journal()["a"]["tries"] == 2
    assert "failed with status 1" in output.stderr
    assert "again in 1 s" in output.stderr


def test_enough_failures_end_a_map(maps: Maps) -> None:
    args = ("-c", "import sys; print(sys.argv[1]); sys.exit(1)", ":::", *"abcdef")
    assert maps.run("-j1", "--fail-fast", *args, status=1).stdout.split() == ["a"]
    output = maps.run("-j1", "--max-failures", "2", *args, status=1)
    assert output.stdout.split() == ["a", "b"]
    assert "2 failed: ending what runs" in output.stderr


def test_an_item_that_hangs_is_ended_and_shown(maps: Maps) -> None:
    script = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("asked", flush=True), sys.exit(0)))
subprocess.Popen(["sleep", "1000"])
print("hanging", flush=True)
time.sleep(1000)
"""
    output = maps.run("--timeout", "1s", maps.script(script), ":::", "a", status=1)
    line = maps.journal()["a"]
    assert (line["result"], line["status"]) == ("timeout", 0)
    assert output.stdout == "hanging\nasked\n"
    assert Path(line["screenshot"]).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert "ran out of time" in output.stderr


def test_an_item_that_does_not_end_is_killed(maps: Maps) -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    maps.run("--timeout", "1s", "--grace", "1s", "-c", script, ":::", "a", status=1)
    line = maps.journal()["a"]
    assert (line["result"], line["signal"]) == ("timeout", 9)


def test_temporary_files_go_with_their_item(maps: Maps) -> None:
    script = "import os, tempfile; print(tempfile.mkdtemp()); print(os.environ['TMPDIR'])"
    output = maps.run("-j1", "--private-tmp", "-c", script, ":::", "a", "b")
    inside, folder, *others = output.stdout.split()
    assert os.path.dirname(inside) == folder
    assert others[1] != folder
    assert not os.path.exists(folder)


def test_an_item_has_the_environment_that_run_gives(maps: Maps) -> None:
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    environ = {**maps.environ, "ODD": os.fsdecode(b"\xff"), "LC_ALL": "C"}
    ours = json.loads(maps.run("-c", code, ":::", "a", env=environ).stdout)
    command = [sys.executable, "-m", "anaheadless", "run", "--gl", "none", "-c", code]
    theirs = json.loads(subprocess.run(command, capture_output=True, env=environ, cwd=maps.folder, check=True).stdout)
    changing = ("DISPLAY", "XAUTHORITY", "ANAHEADLESS_SESSION")
    assert all(name in ours for name in changing)
    assert {k: v for k, v in ours.items() if k not in changing} == {
        k: v for k, v in theirs.items() if k not in changing
    }


def test_a_command_may_be_any_program(maps: Maps) -> None:
    assert maps.run("--command", "sh", "-c", "echo $0 $DISPLAY", "{}", ":::", "a").stdout.startswith("a :")
    output = maps.run("--command", "no-such-program", ":::", "a", status=127)
    assert "command not found: no-such-program" in output.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "Nothing to run"),
        (("s.py", ":::", "a", ":::", "b"), "more than one :::"),
        (("--inputs", "x", "-c", "0", ":::", "a"), "in one way"),
        (("-j0", "s.py", ":::", "a"), "--jobs"),
        (("--call", "x:y", "--command", "true", ":::", "a"), "Give one of"),
        (("--recycle", "3", "-c", "0", ":::", "a"), "need --call"),
        (("--call", "x", ":::", "a"), "names no function"),
        (("--shard", "3/2", "-c", "0", ":::", "a"), "is not I/N"),
        (("--command", "--preload", "os", "true", ":::", "a"), "--preload is for Python"),
        (("--inputs", "nowhere", "-c", "0"), "can't read the inputs: nowhere"),
        (("--glob", "*.nothing", "-c", "0"), "no file matches"),
        (("-", ":::", "a"), "standard input"),
    ],
)
def test_wrong_usage_is_refused(args: tuple[str, ...], message: str, maps: Maps) -> None:
    maps.script("", "s.py")
    output = maps.run(*args, status=2)
    assert message in output.stderr
    assert not (maps.folder / "anaheadless-map.jsonl").exists()


def test_a_display_that_can_not_be_had_is_said(maps: Maps) -> None:
    output = maps.run("--server-arg=-nonsense", "-c", "0", ":::", "a", "b", status=125)
    assert "Unrecognized option: -nonsense" in output.stderr
    assert maps.journal() == {}


FULL = """
mount -t tmpfs -o size=64k,mode=700 none disk
cd disk
head -c 40000 /dev/zero > filler
again() { "$@" map --gl none -q -j2 -c 'import sys; print("x" * 3000)' ::: $(seq 40); echo status $?; }
again "$@"
rm filler
mount -o remount,size=4m .
again "$@"
"""


@needs_namespaces
def test_a_full_disk_ends_a_map_that_then_resumes(maps: Maps) -> None:
    (maps.folder / "disk").mkdir()
    output = in_namespaces("sh", "-c", FULL, "sh", ANAHEADLESS, cwd=maps.folder, env=maps.environ)
    first, second = re.findall(r"^status (\d+)$", output.stdout, re.MULTILINE)
    assert (first, second) == ("125", "0"), output
    assert "can't write the journal: anaheadless-map.jsonl: No space left on device" in output.stderr
    assert re.search(r"[1-9]\d* of 40 items are done already", output.stderr)


def test_a_second_map_is_refused_while_the_first_runs(maps: Maps) -> None:
    code = "import os, time\nopen('runs', 'w').write('1')\nwhile not os.path.exists('enough'): time.sleep(0.01)"
    with maps.running("-c", code, ":::", "a") as first:
        maps.wait_for("runs")
        output = maps.run("-c", code, ":::", "a", status=125)
        assert "another map is writing this journal" in output.stderr
        (maps.folder / "enough").touch()
        assert first.wait(30) == 0


def test_shards_share_the_items(maps: Maps) -> None:
    code = "import sys; print(sys.argv[1])"
    first = maps.run("--shard", "1/2", "-c", code, ":::", *"abcde").stdout.split()
    environ = dict(zip(("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX"), ("11", "10", "11")))
    environ = {**maps.environ, **environ, "SLURM_ARRAY_TASK_STEP": "1"}
    second = maps.run("--shard", "auto", "-c", code, ":::", *"abcde", env=environ).stdout.split()
    assert (sorted(first), sorted(second)) == (["a", "c", "e"], ["b", "d"])
    assert len(maps.journal("anaheadless-map-1of2.jsonl")) == 3
    assert len(maps.journal("anaheadless-map-2of2.jsonl")) == 2


def test_a_dry_run_prints_the_commands(maps: Maps) -> None:
    output = maps.run("--dry-run", "--command", "sh", "-c", "x y", "{}", ":::", "a b", os.fsdecode(b"\xff"))
    assert output.stdout == "sh -c 'x y' 'a b'\nsh -c 'x y' '\udcff'\n"
    assert list(maps.folder.iterdir()) == []


def test_events_are_lines_of_json(maps: Maps) -> None:
    code = "import sys; print('said'); sys.exit(sys.argv[1] == 'b')"
    events = [
        json.loads(line) for line in maps.run("-j1", "--json", "-c", code, ":::", *"ab", status=1).stdout.splitlines()
    ]
    assert [event["event"] for event in events] == ["map", "start", "item", "start", "item", "end"]
    assert events[0]["items"] == 2
    assert (events[4]["input"], events[4]["result"]) == (["b"], "failed")
    assert events[-1]["done"] == 1
