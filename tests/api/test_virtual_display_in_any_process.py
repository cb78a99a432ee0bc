"""virtual_display() works in every process and Python, costs it nothing that stays, and warns of nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helpers import run, run_python
from tests.support.pictures import filled, read_png

# Each process has use() at least once: a display whose picture is saved where the test looks.
USE = """
import os, resource, signal, sys
from anaheadless import virtual_display
def use():
    with virtual_display(gl="none", screen="321x7") as display:
        display.screenshot(sys.argv[1])
"""
STRICT = ("-X", "dev", "-W", "error")  # a warning is an error, and what is not closed is warned of
PROCESSES = {
    "a thread": "import threading; thread = threading.Thread(target=lambda: use()); thread.start(); thread.join()",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: use(), range(8)))
    use()
""",
    "fork in the block": """
with virtual_display(gl="none") as outer:
    child = os.fork()
    if not child:
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    outer.screenshot(sys.argv[1])  # the display is not the child's to end
use()
""",
    "SIGCHLD is ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN); use()",
    "no standard streams": "os.closerange(0, 3); use()",
    "no HOME": "del os.environ['HOME']; use()",
    "no folder": "gone = sys.argv[1] + '.gone'; os.mkdir(gone); os.chdir(gone); os.rmdir(gone); use()",
    "few descriptors": "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)); use()",
    "odd environment": """
os.environb.update({b"NAME": bytes(range(1, 256)), b"DISPLAY": b":\\xff", b"\\xff": b"="})
os.environb[b"PYTHONPATH"] = b":rel:\\xff:"
os.environ.update(ANAHEADLESS_SESSION=":,", XAUTHORITY="/nonexistent", XDG_RUNTIME_DIR="")
use()
""",
    "long display": "os.environ.update(DISPLAY=':' + 5000 * '9', ANAHEADLESS_SESSION=':1,' + 5000 * '9'); use()",
    "odd libraries": "os.environ.update(LD_LIBRARY_PATH='::/nonexistent:', LD_PRELOAD=' : '); use()",
}


def bare() -> dict[str, str]:
    """An environment that asks Python for nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def assert_silent(output: subprocess.CompletedProcess[str], said: str = "") -> None:
    assert (output.returncode, output.stdout, output.stderr) == (0, said, "")


@pytest.mark.parametrize("code", PROCESSES.values(), ids=PROCESSES)
def test_it_works_in_every_process(code: str, tmp_path: Path) -> None:
    if "os.rmdir(gone)" in code and sys.version_info[:3] == (3, 13, 0):
        pytest.skip("Python 3.13.0 can't import socket in a folder that is gone")
    output = run_python(*STRICT, "-c", USE + code, tmp_path / "x.png", env=bare())
    assert_silent(output)
    assert read_png(tmp_path / "x.png") == filled(321, 7, (0, 0, 0))


@pytest.mark.parametrize("options", [("-O",), ("-OO", "-B"), ("-I",), ("-E", "-s"), ("-u", "-b")])
def test_it_works_with_every_option_of_python(options: tuple[str, ...], tmp_path: Path) -> None:
    output = run_python(*options, "-W", "error", "-c", f"{USE}\nuse()", tmp_path / "x.png")
    assert_silent(output)


def test_opengl_is_found_in_threads_without_a_warning() -> None:
    """As Python has it of a fork in a process that has threads."""
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from anaheadless import virtual_display
def use(_):
    with virtual_display() as display:
        return display.renderer
with ThreadPoolExecutor(3) as pool:
    assert all(pool.map(use, range(3)))
    assert use(None)
"""
    output = run_python(*STRICT, "-c", code)
    assert_silent(output)


def test_no_descriptor_thread_or_child_stays_in_the_process(tmp_path: Path) -> None:
    code = """
import os, sys
from anaheadless import LaunchError, virtual_display
def has():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return os.listdir("/proc/self/fd"), os.listdir("/proc/self/task"), file.read()
def use():
    with virtual_display(gl="none") as display:
        display.screenshot(sys.argv[1])
def fail(**options):
    try:
        with virtual_display(gl="none", **options):
            raise AssertionError
    except (LaunchError, ValueError):
        pass
use()
before = has()
for _ in range(20):
    use()
for _ in range(3):
    fail(server_args=("-no-such-option",))
    fail(server_args=("a\\0b",))
    fail(environ={"PATH": "/nonexistent"}, server="xvfb")
assert has() == before, (before, has())
"""
    output = run_python(*STRICT, "-c", code, tmp_path / "x.png")
    assert_silent(output)


@pytest.mark.parametrize("descriptors", [8, 12, 16, 18, 20])
def test_too_few_descriptors_are_said_and_nothing_is_left(descriptors: int) -> None:
    code = f"""
import resource
from anaheadless import LaunchError, virtual_display
from anaheadless.launch import run
from anaheadless.session import discovery
from anaheadless.x11 import screenshot
resource.setrlimit(resource.RLIMIT_NOFILE, ({descriptors}, 4096))
try:
    with virtual_display(gl="none"):
        raise AssertionError
except LaunchError as error:
    assert "ulimit" in str(error)
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
assert not any(session.target == __import__("os").getpid() for session in discovery.sessions())
"""
    output = run_python("-X", "dev", "-c", code)
    assert_silent(output)


@pytest.mark.needs("xdpyinfo")
def test_a_launched_program_has_more_displays_beside_its_own(tmp_path: Path) -> None:
    code = f"""
import os, subprocess, sys
from anaheadless import virtual_display
outer = dict(os.environ)
with virtual_display(screen="123x45", gl="none") as display:
    assert display.display != os.environ["DISPLAY"]
    assert display.environ["PYTHONPATH"].count("shim") == os.environ["PYTHONPATH"].count("shim") == 1
    display.screenshot({str(tmp_path / "x.png")!r})
    for environ in display.environ, os.environ:
        said = subprocess.run(["xdpyinfo"], env=environ, capture_output=True, text=True, check=True).stdout
        print(*(line.split()[1] for line in said.splitlines() if "dimensions:" in line))
subprocess.run(["xdpyinfo"], stdout=subprocess.DEVNULL, check=True)
assert outer == dict(os.environ)
"""
    output = run("run", "--gl", "none", "--screen", "640x480", "-c", code)
    assert_silent(output, "123x45\n640x480\n")
    assert read_png(tmp_path / "x.png").size == (123, 45)
