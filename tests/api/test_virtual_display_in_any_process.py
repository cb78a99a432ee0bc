"""virtual_display() in all kinds of processes; each prints what it saw."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.displays import python
from tests.support.helpers import (
    run,
)
from tests.support.pictures import picture

# --- in all kinds of processes; each prints what it saw

ALIVE = """
    with virtual_display(gl="none", screen="321x7") as display:
        display.screenshot(sys.argv[1])
"""
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
PREAMBLE = f"""
import os, resource, signal, sys
from anaheadless import virtual_display
def use():
{ALIVE}
"""


@pytest.mark.parametrize("code", PROCESSES.values(), ids=PROCESSES)
def test_any_process(code: str, tmp_path: Path) -> None:
    if "os.rmdir(gone)" in code and sys.version_info[:3] == (3, 13, 0):
        pytest.skip("Python 3.13.0 can't import socket in a folder that is gone")
    output = python("-X", "dev", "-W", "error", "-c", PREAMBLE + code, tmp_path / "x.png", env=bare())
    assert (output.returncode, output.stdout, output.stderr) == (0, "", "")
    width, height, rgb = picture(tmp_path / "x.png")
    assert (width, height, set(rgb)) == (321, 7, {0})


def bare() -> dict[str, str]:
    """An environment that asks Python for nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.mark.parametrize("options", [("-O",), ("-OO", "-B"), ("-I",), ("-E", "-s"), ("-u", "-b")])
def test_any_python(options: tuple[str, ...], tmp_path: Path) -> None:
    output = python(*options, "-W", "error", "-c", f"{PREAMBLE}\nuse()", tmp_path / "x.png")
    assert (output.returncode, output.stdout, output.stderr) == (0, "", "")


def test_opengl_in_threads_without_a_warning(tmp_path: Path) -> None:
    """Python warns of a fork with threads, as of anything that is not closed."""
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
    output = python("-X", "dev", "-W", "error", "-c", code)
    assert (output.returncode, output.stdout, output.stderr) == (0, "", "")


def test_nothing_piles_up_in_the_process(tmp_path: Path) -> None:
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
    fail(environ={"PATH": "/nonexistent"})
assert has() == before, (before, has())
"""
    output = python("-X", "dev", "-W", "error", "-c", code, tmp_path / "x.png")
    assert (output.returncode, output.stdout, output.stderr) == (0, "", "")


@pytest.mark.parametrize("descriptors", [8, 12, 16, 18, 20])
def test_too_few_descriptors(descriptors: int) -> None:
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
    output = python("-X", "dev", "-c", code)
    assert (output.returncode, output.stdout, output.stderr) == (0, "", "")


@pytest.mark.needs("xdpyinfo")
def test_in_a_launched_program(tmp_path: Path) -> None:
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
    assert (output.returncode, output.stdout, output.stderr) == (0, "123x45\n640x480\n", "")
    assert picture(tmp_path / "x.png")[:2] == (123, 45)
