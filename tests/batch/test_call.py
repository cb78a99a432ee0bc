"""With --call, processes stay, and call a function for one item after another."""

from __future__ import annotations

import signal

import pytest

from tests.support.maps import Maps

MODULE = """
import os, sys, time
print("imported", file=sys.stderr, flush=True)
calls = []

def draw(value, *rest):
    calls.append(value)
    print(os.getpid(), len(calls), value, *rest)
    if value == "error":
        raise ValueError("no such brain")
    if value == "exit":
        sys.exit(3)
    if value == "words":
        sys.exit("in words")
    if value == "crash":
        os.abort()
    if value == "quit":
        os._exit(5)
    if value == "hang":
        time.sleep(1000)
    if value == "big":
        calls.append(bytearray(200 << 20))
    if value == "orphan":
        if not os.fork():
            orphan = os.fork()
            if not orphan:
                os.setsid()
                time.sleep(1000)
            open("orphan", "w").write(str(orphan))
            os._exit(0)
        os.wait()
    if value == "after":
        os.kill(int(open("orphan").read()), 0)

class Viewer:
    @staticmethod
    def show(value):
        print("shown", value)
"""


@pytest.fixture
def module(maps: Maps) -> Maps:
    maps.script(MODULE, "module.py")
    return maps


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_one_process_keeps_what_it_has_built(module: Maps) -> None:
    output = module.run("-j1", "--call", "module:draw", "{}", "{#}", ":::", *"abc")
    assert [row[1:] for row in rows(output.stdout)] == [["1", "a", "1"], ["2", "b", "2"], ["3", "c", "3"]]
    assert len({row[0] for row in rows(output.stdout)}) == 1
    assert output.stderr.count("imported") == 1
    assert module.journal()["a"]["command"] == ["module:draw", "a", "1"]


def test_a_file_has_functions_too(module: Maps) -> None:
    assert module.run("--call", "module.py:Viewer.show", ":::", "a").stdout == "shown a\n"


def test_what_a_function_raises_is_its_items(module: Maps) -> None:
    output = module.run("-j1", "--call", "module:draw", ":::", "error", "exit", "words", "a", status=1)
    found = module.journal()
    assert [found[name]["status"] for name in ("error", "exit", "words", "a")] == [1, 3, 1, 0]
    assert 'module.py", line' in output.stderr
    assert "ValueError: no such brain" in output.stderr
    assert "in words" in output.stderr
    assert rows(output.stdout)[-1][1] == "4"  # one process


def test_a_crash_costs_one_try(module: Maps) -> None:
    output = module.run("-j1", "--call", "module:draw", ":::", "a", "crash", "b", "quit", "c", status=1)
    found = module.journal()
    assert {name: (line["result"], line["status"], line["signal"]) for name, line in found.items()} == {
        "a": ("ok", 0, None),
        "crash": ("killed", None, signal.SIGABRT),
        "b": ("ok", 0, None),
        "quit": ("failed", 5, None),
        "c": ("ok", 0, None),
    }
    assert output.stderr.count("imported") == 3


def test_a_call_that_hangs_is_ended(module: Maps) -> None:
    module.run("-j1", "--timeout", "1s", "--call", "module:draw", ":::", "hang", "b", status=1)
    assert module.results() == {"hang": "timeout", "b": "ok"}


def test_processes_are_replaced_when_that_is_asked_for(module: Maps) -> None:
    output = module.run("-j1", "--recycle", "2", "--call", "module:draw", ":::", *"abcde")
    assert [row[1] for row in rows(output.stdout)] == ["1", "2", "1", "2", "1"]
    module.script(MODULE + "import atexit; atexit.register(lambda: open('ended', 'a').write('x'))", "module.py")
    args = ("--no-resume", "-j1", "--max-memory", "150", "--call", "module:draw", ":::", "a", "big", "c", "d")
    assert [row[1] for row in rows(module.run(*args).stdout)] == ["1", "2", "1", "2"]
    assert "x" in (module.folder / "ended").read_text()  # it has ended as programs end
    assert module.journal()["big"]["memory"] > 200 << 20
    assert module.journal()["d"]["memory"] < 200 << 20


def test_orphans_of_a_call_are_ended(module: Maps) -> None:
    output = module.run("-j1", "--call", "module:draw", ":::", "orphan", "after", status=1)
    assert "ProcessLookupError" in output.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("module:nothing", "has no attribute 'nothing'"),
        ("nowhere:f", "No module named 'nowhere'"),
        ("module:calls", "is no function"),
        ("broken:f", "ZeroDivisionError"),
    ],
)
def test_a_function_that_is_not_there_is_refused(name: str, message: str, module: Maps) -> None:
    module.script("1 / 0", "broken.py")
    output = module.run("--call", name, ":::", "a", status=125)
    assert message in output.stderr
    assert module.journal() == {}


def test_a_file_that_is_not_there_is_refused(module: Maps) -> None:
    assert "script not found" in module.run("--call", "nowhere.py:f", ":::", "a", status=127).stderr
