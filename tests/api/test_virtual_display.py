"""Displays for what a program starts: several at a time, each with its own, and pictures of what they show."""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from anaheadless import LaunchError, VirtualDisplay, virtual_display
from anaheadless.session import discovery, keeper
from anaheadless.session.discovery import SessionStatus, parse_status
from anaheadless.x11 import client, screenshot
from anaheadless.x11.authority import authority, find_cookie
from anaheadless.x11.display_number import abstract_name
from anaheadless.x11.screenshot import Format, parse_setup, to_rgb
from tests.support.drivers import BROKEN, HANG, broken_gl
from tests.support.helpers import (
    PATIENCE,
    PROGRAMS,
    SOCKETS,
    Session,
    holding,
    is_running,
    keepers_of,
    program,
    remove_socket,
    run,
    wait_until,
)
from tests.support.namespaces import PrivateTmp

Colour = tuple[int, int, int]


def parts(display: VirtualDisplay) -> list[psutil.Process]:
    """Keeper and X server."""
    found = psutil.Process(int(display.environ["ANAHEADLESS_SESSION"].partition(",")[2]))
    return [found, *found.children()]


def limits(display: VirtualDisplay) -> Callable[[], list[str]]:
    """What will say, at any later time, what is left of *display*."""
    number = int(display.display[1:])
    processes = parts(display)
    assert len(processes) == 2
    files = SOCKETS / f"X{number}", Path(f"/tmp/.X{number}-lock")

    def left() -> list[str]:
        return [str(x) for x in processes if is_running(x)] + [str(x) for x in files if os.path.lexists(x)]

    return left


def picture(path: str | os.PathLike[str]) -> tuple[int, int, bytes]:
    """Width, height and RGB pixels of a PNG file such as ours are: not interlaced, no filters."""
    data = Path(path).read_bytes()
    width, height = struct.unpack_from(">II", data, 16)
    (length,) = struct.unpack_from(">I", data, 33)
    lines = zlib.decompress(data[41 : 41 + length])
    stride = 1 + 3 * width
    assert len(lines) == height * stride
    return width, height, b"".join(lines[at + 1 : at + stride] for at in range(0, len(lines), stride))


def pixel(image: tuple[int, int, bytes], x: int, y: int) -> Colour:
    start = 3 * (y * image[0] + x)
    red, green, blue = image[2][start : start + 3]
    return red, green, blue


class Client:
    """A connection to a display that paints its root window: what it paints stays."""

    def __init__(self, display: VirtualDisplay) -> None:
        number = int(display.display[1:])
        cookie = find_cookie(Path(display.environ["XAUTHORITY"]).read_bytes(), number)
        self.connection = client.connect(abstract_name(number), cookie, time.monotonic() + PATIENCE)
        self.form = parse_setup(self.connection.setup)
        (self.context,) = struct.unpack_from("<4xI", self.connection.setup)  # any of the identifiers that are ours
        self.connection.socket.sendall(struct.pack("<BxHIIIII", 55, 5, self.context, self.form.root, 4, 0, 0)[:20])

    def paint(self, value: int, x: int, y: int, width: int, height: int) -> None:
        change = struct.pack("<BxHIII", 56, 4, self.context, 4, value)  # ChangeGC: foreground
        fill = struct.pack("<BxHIIhhHH", 70, 5, self.form.root, self.context, x, y, width, height)
        self.connection.socket.sendall(change + fill)

    def allocate(self, red: int, green: int, blue: int) -> int:
        """The pixel of a colour, each part of 16 bits."""
        answer = self.connection.ask(84, 0, struct.pack("<IHHHxx", self.form.colormap, red, green, blue))
        (value,) = struct.unpack_from("<16xI", answer)
        return int(value)

    def sync(self) -> None:
        self.connection.ask(43, 0, b"")  # GetInputFocus: answered after all that came before


@contextmanager
def painting(display: VirtualDisplay) -> Iterator[Client]:
    client = Client(display)
    with client.connection:
        yield client


def python(*args: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    settings = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL, **settings}
    return subprocess.run([sys.executable, *args], **settings)


def xdpyinfo(environ: Mapping[str, str]) -> str:
    return subprocess.run(["xdpyinfo"], env=environ, capture_output=True, text=True, timeout=60, check=True).stdout


# --- what one is


@pytest.mark.needs("xdpyinfo")
def test_display_and_its_environment() -> None:
    before = dict(os.environ)
    with virtual_display() as display:
        left = limits(display)
        assert display.backend in ("virtualgl", "nvidia", "native", "mesa")
        assert display.renderer
        assert display.display == display.environ["DISPLAY"] != os.environ.get("DISPLAY")
        assert "    GLX\n" in xdpyinfo(display.environ)
        found = discovery.current(display.environ)
        assert found is not None
        assert found.status is not None
        assert (found.display, found.keeper) == (display.display, parts(display)[0].pid)
        assert (found.status.server, found.status.glx) == (parts(display)[1].pid, 2)
        assert (found.status.backend, found.status.renderer) == (display.backend, display.renderer)
        assert display.display in repr(display)
        assert display.environ["XAUTHORITY"] not in repr(display)
    wait_until(lambda: not left())
    assert dict(os.environ) == before


@pytest.mark.needs("xdpyinfo")
def test_several_at_a_time() -> None:
    """In one another, with screens of their own; each ends alone."""
    screens = "640x480x24", "321x7x16", "100x200x30", "80x60x8"
    with ExitStack() as stack, virtual_display(gl="none") as last:
        displays = [stack.enter_context(virtual_display(gl="none", screen=screen)) for screen in screens]
        lefts = [limits(display) for display in displays]
        assert len({display.display for display in (last, *displays)}) == 5
        assert len({display.environ["XAUTHORITY"] for display in (last, *displays)}) == 5
        for display, screen in zip(displays, screens):
            said = xdpyinfo(display.environ)
            size, _, depth = screen.rpartition("x")
            assert f"dimensions:    {size} pixels" in said
            assert f"depth of root window:    {depth} planes" in said
        stack.close()
        wait_until(lambda: not any(left() for left in lefts))
        assert "1280x1024 pixels" in xdpyinfo(last.environ)


def test_threads_do_not_mix_their_displays_up(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def shoot(number: int) -> tuple[str, Callable[[], list[str]]]:
        colour, path = (10 * number, 255 - 20 * number, number), tmp_path / f"{number}.png"
        together.wait(PATIENCE)
        with virtual_display(gl="none", screen=f"{101 + number}x{51 + number}") as display:
            value = str(int.from_bytes(bytes(colour), "big"))
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            command = [sys.executable, PROGRAMS / "paint_root.py", value]
            with subprocess.Popen(command, env=display.environ, text=True, **streams) as painter:  # type: ignore[call-overload]
                assert painter.stdout.readline() == "painted\n"
                display.screenshot(path)
                painter.kill()
            assert picture(path) == (101 + number, 51 + number, bytes(colour) * (101 + number) * (51 + number))
            return display.display, limits(display)

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(shoot, range(8)))
    assert len({name for name, _ in ended}) == 8
    wait_until(lambda: not any(left() for _, left in ended))


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


# --- what may be asked for


def test_environment_to_start_from() -> None:
    base = {
        "PATH": os.environ["PATH"],
        "MARK": "\udce9 =",
        "WAYLAND_DISPLAY": "wayland-0",
        "QT_QPA_PLATFORM": "minimal",
    }
    given = dict(base)
    with virtual_display(base, gl="none", shim=False) as display:
        session = {"DISPLAY", "XAUTHORITY", "XDG_SESSION_TYPE", "XDG_RUNTIME_DIR", "ANAHEADLESS_SESSION"}
        assert set(display.environ) == {"PATH", "MARK", "QT_XCB_GL_INTEGRATION", *session}
        assert display.environ["MARK"] == base["MARK"]
        assert python("-c", "pass", env=display.environ).returncode == 0
    assert base == given
    with virtual_display(environ={}, gl="none") as display:
        assert set(display.environ) == {"PYTHONPATH", "QT_XCB_GL_INTEGRATION", *session}


@pytest.mark.needs("xdpyinfo")
def test_options(tmp_path: Path) -> None:
    # The last word on the screen is with what is given to the server itself.
    more = ("-screen", "0", "322x240x16", "-maxclients", "64")
    with virtual_display(gl="none", screen="800x600", dpi=120, server_args=more) as display:
        assert (display.backend, display.renderer) == ("none", None)
        said = xdpyinfo(display.environ)
        assert "dimensions:    322x240 pixels (68x51 millimeters)" in said
        assert "    GLX\n" not in said
        assert "-maxclients" in parts(display)[1].cmdline()
        display.screenshot(tmp_path / "x.png")
    assert picture(tmp_path / "x.png")[:2] == (322, 240)


def test_decorator() -> None:
    @virtual_display(gl="none", server_args=["-maxclients", "64"])
    def nothing() -> None:
        pass

    nothing()


WRONG: dict[str, dict[str, Any]] = {
    "screen": {"screen": "800"},
    "screen's depth": {"screen": "800x600x32"},
    "screen's size": {"screen": "0x600"},
    "huge screen": {"screen": "32768x1"},
    "no screen": {"screen": None},
    "tuple as a screen": {"screen": (800, 600)},
    "negative dpi": {"dpi": -5},
    "no dpi": {"dpi": 0},
    "huge dpi": {"dpi": 1001},
    "text as dpi": {"dpi": "abc"},
    "gl": {"gl": "vulkan"},
    "no gl": {"gl": None},
    "list as gl": {"gl": []},
    "text as server arguments": {"server_args": "-nocursor"},
    "number in server arguments": {"server_args": (1,)},
    "NUL in server arguments": {"server_args": ("-a\0b",)},
    "no server arguments": {"server_args": None},
    "no time": {"start_timeout": 0},
    "not a number": {"probe_timeout": float("nan")},
    "endless": {"start_timeout": float("inf")},
    "text as time": {"start_timeout": "3"},
    "no such option": {"backend": "none"},
    "an option of the command line": {"verbose": True},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_wrong_options(options: dict[str, Any], tmp_path: Path) -> None:
    """Refused with words, before anything is started."""
    program(tmp_path / "bin" / "Xvfb", f"touch {tmp_path}/started")
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    with pytest.raises((ValueError, TypeError)) as refused, virtual_display(environ, **{"gl": "none", **options}):
        pass
    assert len(str(refused.value)) > 10
    assert not (tmp_path / "started").exists()
    assert not keepers_of(os.getpid())


def test_no_server() -> None:
    with pytest.raises(LaunchError, match="Xvfb is not installed"), virtual_display({"PATH": "/nonexistent"}):
        pass


def test_server_that_fails() -> None:
    with (
        pytest.raises(LaunchError, match=r"(?s)ended before it was ready.*-no-such"),
        virtual_display(gl="none", server_args=["-no-such"]),
    ):
        pass
    wait_until(lambda: not keepers_of(os.getpid()))


@pytest.mark.parametrize("how", ["refuses", "crashes", "draws nothing"])
def test_no_opengl(how: str, tmp_path: Path) -> None:
    arguments, said = BROKEN[how]
    program(tmp_path / "bin" / "Xvfb", "unset LD_LIBRARY_PATH", f'exec {shutil.which("Xvfb")} "$@"')
    environ = {
        **os.environ,
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": str(broken_gl(tmp_path / "lib", *arguments).parent),
    }
    with pytest.raises(LaunchError) as refused, virtual_display(environ, virtualgl=False):
        pass
    assert said in str(refused.value)
    assert 'gl="none"' in str(refused.value)
    assert "--gl none" not in str(refused.value)
    wait_until(lambda: not keepers_of(os.getpid()))
    with virtual_display(environ, gl="none") as display:
        assert display.renderer is None


# --- its end


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_exception_in_the_block(kind: type[BaseException]) -> None:
    failure = kind("of the program")
    lefts = []

    def use() -> None:
        with virtual_display(gl="none") as display:
            lefts.append(limits(display))
            raise failure

    with pytest.raises(kind) as raised:
        use()
    assert raised.value is failure
    wait_until(lambda: not any(left() for left in lefts))
    assert lefts


def test_ended_display_has_no_picture(tmp_path: Path) -> None:
    with virtual_display(gl="none") as display:
        display.screenshot(tmp_path / "x.png")
    with pytest.raises(
        LaunchError,
        match=f"^anaheadless: can't take a picture of display {display.display}: .*\n  Its session may have ended",
    ):
        display.screenshot(tmp_path / "y.png")
    assert not (tmp_path / "y.png").exists()
    assert discovery.current(display.environ) is None


@pytest.mark.parametrize("which", [0, 1], ids=["keeper", "server"])
def test_part_that_is_killed(which: int, tmp_path: Path) -> None:
    """The picture is refused, and the block ends as if nothing had been."""
    with virtual_display(gl="none") as display:
        processes = parts(display)
        processes[which].kill()
        wait_until(lambda: not any(map(is_running, processes)))
        with pytest.raises(LaunchError):
            display.screenshot(tmp_path / "x.png")
        assert discovery.current(display.environ) is None
    assert not (tmp_path / "x.png").exists()
    remove_socket(int(display.display[1:]))  # nobody was left to do it; the next one would


def test_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screenshot, "LIMIT", 0.1)
    with virtual_display(gl="none") as display:
        server = parts(display)[1]
        server.suspend()
        with pytest.raises(LaunchError, match="timed out"):
            display.screenshot(tmp_path / "x.png")
        left = limits(display)
    wait_until(lambda: not left())  # a stopped server ends as well


HOLD = f"""
import os, runpy, sys
from anaheadless import virtual_display
with virtual_display(gl="none") as display:
    os.environ.update(display.environ)
    hold = {str(PROGRAMS / "hold.py")!r}
    sys.argv = [hold]
    runpy.run_path(hold)
    os._exit(3)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_process_that_ends_in_the_block(number: signal.Signals | None) -> None:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", HOLD], text=True, **streams) as process:  # type: ignore[call-overload]
        try:
            session = Session(process)
            if number is None:
                process.stdin.close()  # which has it leave with os._exit()
            else:
                process.send_signal(number)
            status = process.wait(PATIENCE)
        finally:
            process.kill()
    assert status == (3 if number is None else -number)
    session.wait_until_nothing_is_left()


# A program that is interrupted while its display is set up, and goes on; it says when, and waits for its end.
INTERRUPTED = """
import os, sys
from anaheadless import virtual_display
print(os.getpid(), flush=True)
try:
    with virtual_display(gl=sys.argv[1], virtualgl=False):
        print("set up", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
sys.stdin.read()
"""


@contextmanager
def interrupted(gl: str, *enter: str, **environ: str) -> Iterator[psutil.Process]:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [*enter, sys.executable, "-c", INTERRUPTED, gl]
    with subprocess.Popen(command, text=True, env={**os.environ, **environ}, **streams) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == f"{process.pid}\n"
            assert process.stdout.readline() == "interrupted\n"
            yield psutil.Process(process.pid)
        finally:
            process.kill()


@pytest.mark.parametrize("then", ["exec", "sleep 300; exit; exec"], ids=["starts", "hangs"])
def test_interrupt_while_the_server(then: str, tmp_path: Path, private_tmp: PrivateTmp) -> None:
    """The program goes on, but nothing of the display does."""
    keeper_file = os.path.basename(keeper.__file__)
    # Of its parent's arguments, the keeper's, the second after its file is whom it is for.
    find = f"tr '\\0' '\\n' </proc/$PPID/cmdline | grep -A 2 /{keeper_file} | tail -n 1"
    program(tmp_path / "bin" / "Xvfb", f"kill -INT $({find})", f'{then} {shutil.which("Xvfb")} "$@"')
    with interrupted("none", *private_tmp.enter, PATH=f"{tmp_path}/bin:{os.environ['PATH']}") as process:
        wait_until(lambda: not keepers_of(process.pid), "the keeper ends", timeout=10)
        assert process.children(recursive=True) == []
        assert not any("socket:" in x for x in descriptors(process.pid))
        private_tmp.wait_until_nothing_is_left()


def test_interrupt_while_opengl_is_proved(tmp_path: Path) -> None:
    path = broken_gl(tmp_path / "lib", f"-DON_LOAD=kill(getppid(), SIGINT); {HANG}")
    program(tmp_path / "bin" / "Xvfb", "unset LD_LIBRARY_PATH", f'exec {shutil.which("Xvfb")} "$@"')
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(path.parent)}
    with interrupted("native", **environ) as process:
        wait_until(lambda: not keepers_of(process.pid), "the keeper ends", timeout=10)
        assert process.children(recursive=True) == []


def descriptors(pid: int) -> list[str]:
    return [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]


@pytest.mark.soak
def test_interrupts_at_any_moment() -> None:
    code = """
import os, signal, sys
from anaheadless import virtual_display
from anaheadless.opengl import probe
from anaheadless.session import discovery, session
def stop(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, stop)
with virtual_display(gl="none"):
    pass
for milliseconds in [*range(1, 60)] * 3:
    try:
        signal.setitimer(signal.ITIMER_REAL, milliseconds / 1000)
        try:
            with virtual_display(gl="none"):
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        pass
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        assert not file.read(), milliseconds
print(os.getpid(), flush=True)
sys.stdin.read()
"""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **streams) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == f"{process.pid}\n", process.stderr.read()
            wait_until(lambda: not keepers_of(process.pid), "no keeper is left", timeout=10)
        finally:
            process.kill()


# --- pictures

RAMP = [0, 1, 2, 15, 16, 17, 100, 127, 128, 200, 254, 255]


def widened(value: int, bits: int) -> int:
    """A part of a colour, of that many bits, as 8 bits: as near to the same part of the whole as can be."""
    return value * 255 // ((1 << bits) - 1) if bits < 8 else value >> (bits - 8)


@pytest.mark.parametrize(
    ("depth", "bits"), [(24, (8, 8, 8)), (30, (10, 10, 10)), (16, (5, 6, 5)), (15, (5, 5, 5))], ids=[24, 30, 16, 15]
)
@pytest.mark.parametrize(("width", "height"), [(321, 7), (1, 1), (61, 60)])
def test_colours(depth: int, bits: Colour, width: int, height: int, tmp_path: Path) -> None:
    """Every pixel, at widths whose rows are padded: exact, or to the step of the depth."""
    random_ = random.Random(depth)
    with virtual_display(gl="none", screen=f"{width}x{height}x{depth}") as display, painting(display) as client:
        expected = bytearray()
        for y in range(height):
            for x in range(0, width, 20):
                colour = [random_.randrange(1 << size) for size in bits]
                client.paint((colour[0] << bits[1] | colour[1]) << bits[2] | colour[2], x, y, 20, 1)
                expected += bytes(map(widened, colour, bits)) * min(20, width - x)
        client.sync()
        display.screenshot(tmp_path / "x.png")
    found = picture(tmp_path / "x.png")
    assert found[:2] == (width, height)
    wrong = max(abs(a - b) for a, b in zip(found[2], expected))
    assert len(found[2]) == len(expected)
    assert wrong <= (1 if depth < 24 else 0)


@pytest.mark.parametrize("kind", [(), ("-cc", "3"), ("-cc", "1")], ids=["default", "PseudoColor", "GrayScale"])
def test_colours_of_a_colormap(kind: tuple[str, ...], tmp_path: Path) -> None:
    colours: list[Colour] = [(10, 200, 30), (255, 0, 0), (0, 0, 1), (254, 255, 255)]
    if "1" in kind:
        colours = [(100, 100, 100), (7, 7, 7), (255, 255, 255), (0, 0, 0)]
    with virtual_display(gl="none", screen="13x4x8", server_args=kind) as display, painting(display) as client:
        assert client.form.masks is None
        for y, colour in enumerate(colours):
            red, green, blue = colour
            client.paint(client.allocate(red * 257, green * 257, blue * 257), 0, y, 13, 1)
        client.sync()
        display.screenshot(tmp_path / "x.png")
    assert picture(tmp_path / "x.png") == (13, 4, b"".join(bytes(colour) * 13 for colour in colours))


def test_colours_of_eight_bits_without_a_colormap(tmp_path: Path) -> None:
    with virtual_display(gl="none", screen="5x3x8", server_args=("-cc", "4")) as display, painting(display) as client:
        masks = client.form.masks
        assert masks is not None
        for y, mask in enumerate(masks):
            client.paint(mask, 0, y, 5, 1)
        client.sync()
        display.screenshot(tmp_path / "x.png")
    expected = b"".join(bytes(255 * (channel == y) for channel in range(3)) * 5 for y in range(3))
    assert picture(tmp_path / "x.png") == (5, 3, expected)


def test_widget_that_qt_draws(tmp_path: Path) -> None:
    code = """
import sys
from PyQt5.QtWidgets import QApplication, QWidget
app = QApplication([])
widget = QWidget()
widget.setStyleSheet("background: rgb(10, 200, 30)")
widget.setGeometry(40, 30, 100, 50)
widget.show()
app.processEvents()
widget.repaint()
app.sync()
print("drawn", flush=True)
sys.stdin.read()
"""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        virtual_display(gl="none", screen="200x100") as display,
        subprocess.Popen(  # type: ignore[call-overload]
            [sys.executable, "-c", code], env=display.environ, **streams
        ) as process,
    ):
        try:
            assert process.stdout.readline() == "drawn\n"
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
            display.screenshot(tmp_path / "x.png")
        finally:
            process.kill()
    found = picture(tmp_path / "x.png")
    assert found[:2] == (200, 100)
    assert {pixel(found, x, y) for x, y in ((40, 30), (139, 79), (90, 50))} == {(10, 200, 30)}
    assert {pixel(found, x, y) for x, y in ((39, 30), (40, 29), (140, 79), (139, 80))} == {(0, 0, 0)}


def test_picture_of_a_stopped_target(tmp_path: Path) -> None:
    with holding("--gl", "none", "--screen", "70x50") as session:
        session.target.suspend()
        wait_until(lambda: session.target.status() == psutil.STATUS_STOPPED)
        screenshot.save(session.display, session.authority, str(tmp_path / "x.png"))
    assert picture(tmp_path / "x.png") == (70, 50, bytes(3 * 70 * 50))


def test_png_as_others_read_it(tmp_path: Path) -> None:
    with virtual_display(gl="none", screen="321x7") as display, painting(display) as client:
        client.paint(0x0AC81E, 320, 6, 1, 1)
        client.sync()
        display.screenshot(tmp_path / "x.png")
    code = """
import sys
from PyQt5.QtGui import QImage
image = QImage(sys.argv[1], "PNG")
print(image.width(), image.height(), image.hasAlphaChannel(), *(image.pixelColor(x, 6).name() for x in (320, 319)))
"""
    output = python("-c", code, tmp_path / "x.png")
    assert (output.stdout, output.stderr) == ("321 7 False #0ac81e #000000\n", "")


def test_where_pictures_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.png").write_bytes(b"x" * 100_000)
    with virtual_display(gl="none", screen="30x20") as display:
        for path in "a.png", Path("b.png"), tmp_path / "c.png", "old.png", os.fsdecode(b"\xff.png"):
            display.screenshot(path)
            assert picture(path) == (30, 20, bytes(3 * 30 * 20))
        for path in tmp_path / "missing" / "x.png", tmp_path, "/dev/full", "":
            with pytest.raises(OSError, match="Errno"):
                display.screenshot(path)
        with pytest.raises(TypeError):
            display.screenshot(None)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="null"):
            display.screenshot("a\0b.png")


# --- pixels, without a server


def value_of(pixel: bytes, form: Format) -> int:
    return int.from_bytes(pixel, "big" if form.big_endian else "little")


def part(value: int, mask: int) -> int:
    """The slow way to what a mask selects, in 8 bits."""
    bits = "".join(str(value >> place & 1) for place in range(31, -1, -1) if mask >> place & 1)
    return int((bits * 8)[:8], 2)


MASKS = {
    "888": (4, (0xFF0000, 0x00FF00, 0x0000FF)),
    "888, the other way round": (4, (0x0000FF, 0x00FF00, 0xFF0000)),
    "888 in the upper bytes": (4, (0xFF000000, 0x00FF0000, 0x0000FF00)),
    "888, packed": (3, (0xFF0000, 0x00FF00, 0x0000FF)),
    "10 bits": (4, (0x3FF00000, 0x000FFC00, 0x000003FF)),
    "565": (2, (0xF800, 0x07E0, 0x001F)),
    "555": (2, (0x7C00, 0x03E0, 0x001F)),
    "444 in 4 bytes": (4, (0x0F00, 0x00F0, 0x000F)),
    "332": (1, (0xE0, 0x1C, 0x03)),
    "233, as Xvfb has it": (1, (0x07, 0x38, 0xC0)),
    "111": (1, (4, 2, 1)),
}


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("row_bits", [8, 16, 32])
@pytest.mark.parametrize(("size", "masks"), MASKS.values(), ids=MASKS)
def test_pixels_as_rgb(size: int, masks: tuple[int, int, int], row_bits: int, big_endian: bool) -> None:
    for width in 1, 2, 3, 7, 32:
        form = Format(0, 0, width, 3, size, row_bits, big_endian, masks)
        stride = -(-width * size * 8 // row_bits) * row_bits // 8
        data = random.Random(width).randbytes(3 * stride) if width > 1 else b"\xff" * (3 * stride)
        expected = []
        for start in range(0, 3 * stride, stride):
            row = data[start : start + width * size]
            values = [value_of(row[at : at + size], form) for at in range(0, len(row), size)]
            expected.append(bytes(part(value, mask) for value in values for mask in masks))
        assert to_rgb(data, form) == expected
        if width == 1:
            assert expected == [b"\xff\xff\xff"] * 3


def test_known_pixels_as_rgb() -> None:
    form = Format(0, 0, 1, 1, 4, 32, False, (0xFF0000, 0x00FF00, 0x0000FF))
    assert to_rgb(b"\x03\x02\x01\xff", form) == [b"\x01\x02\x03"]
    assert to_rgb(b"\xff\x01\x02\x03", replace(form, big_endian=True)) == [b"\x01\x02\x03"]
    form = replace(form, pixel_bytes=2, masks=(0xF800, 0x07E0, 0x001F))
    assert to_rgb(b"\x1f\xf8\0\0", form) == [b"\xff\x00\xff"]
    assert to_rgb(b"\x84\x10\0\0", replace(form, big_endian=True)) == [bytes((0b10000100, 0b10000010, 0b10000100))]


@pytest.mark.parametrize("big_endian", [False, True])
def test_indexed_pixels_as_rgb(big_endian: bool) -> None:
    palette = [bytes((factor * value) % 256 for value in range(256)) for factor in (1, 3, 7)]
    form = Format(0, 0, 3, 2, 1, 32, big_endian, None)
    assert to_rgb(bytes([0, 1, 2, 99, 255, 128, 7, 99]), form, palette) == [
        bytes([0, 0, 0, 1, 3, 7, 2, 6, 14]),
        bytes([255, 253, 249, 128, 128, 128, 7, 21, 49]),
    ]


def setup(vendor: bytes, *, kind: int = 4, depth: int = 24, big_endian: bool = False) -> bytes:
    """What a server says of itself; its visual 77 is the second of the second of three depths."""

    def visual(number: int, kind: int, *masks: int) -> bytes:
        return struct.pack("<IBBHIII4x", number, kind, 8, 256, *masks)

    def depths(depth: int, *visuals: bytes) -> bytes:
        return struct.pack("<BxH4x", depth, len(visuals)) + b"".join(visuals)

    formats = [(1, 1, 32), (8, 8, 32), (16, 16, 16), (24, 32, 64)]
    screen = struct.pack("<IIIIIHHHHHHIBBBB", 11, 22, 1, 0, 0, 321, 7, 80, 2, 1, 1, 77, 0, 0, depth, 3)
    screen += (
        depths(1)
        + depths(depth, visual(76, 4, 1, 2, 3), visual(77, kind, 4, 5, 6))
        + depths(32, visual(78, 4, 7, 8, 9))
    )
    sizes = len(vendor), 65535, 2, len(formats), big_endian, 0, 32, 32, 8, 255
    start = struct.pack("<IIIIHHBBBBBBBB4x", 1, 2, 3, 0, *sizes)
    return start + vendor + bytes(-len(vendor) % 4) + b"".join(struct.pack("<BBB5x", *x) for x in formats) + screen * 2


@pytest.mark.parametrize("vendor", [b"", b"X", b"The X.Org Foundation", b"\xff" * 7])
def test_what_a_server_says_of_itself(vendor: bytes) -> None:
    expected = Format(11, 22, 321, 7, 4, 64, False, (4, 5, 6))
    assert parse_setup(setup(vendor)) == expected
    assert parse_setup(setup(vendor, kind=5)) == expected
    assert parse_setup(setup(vendor, big_endian=True)) == replace(expected, big_endian=True)
    assert parse_setup(setup(vendor, depth=16)) == replace(expected, pixel_bytes=2, row_bits=16)
    for kind in range(4):
        assert parse_setup(setup(vendor, kind=kind, depth=8)) == Format(11, 22, 321, 7, 1, 32, False, None)


# --- cookies


def entry(number: bytes, name: bytes, cookie: bytes, family: int = 256, address: bytes = b"host") -> bytes:
    fields = (address, number, name, cookie)
    return struct.pack(">H", family) + b"".join(struct.pack(">H", len(field)) + field for field in fields)


MAGIC = b"MIT-MAGIC-COOKIE-1"
ENTRIES = (
    entry(b"5", MAGIC, b"of another")
    + entry(b"15", b"XDM-AUTHORIZATION-1", b"of another kind")
    + entry(b"15", b"", b"")
    + entry(b"", MAGIC, b"of any")
    + entry(b"15", MAGIC, b"the one", family=65535, address=b"")
    + entry(b"15", MAGIC, b"a later one")
    + entry(b"150", MAGIC, bytes(range(16)), family=0, address=b"\x7f\0\0\1")
)


@pytest.mark.parametrize(("number", "cookie"), [(5, b"of another"), (15, b"the one"), (150, bytes(range(16)))])
def test_cookie_among_others(number: int, cookie: bytes) -> None:
    assert find_cookie(ENTRIES, number) == cookie
    assert find_cookie(authority(number, b"first", "host") + ENTRIES, number) == b"first"


@pytest.mark.parametrize("entries", [b"", ENTRIES, b"\0", b"\xff" * 99, bytes(99), b"1" * 99], ids=range(6))
def test_no_cookie(entries: bytes) -> None:
    with pytest.raises(ValueError, match=":2000"):
        find_cookie(entries, 2000)


def test_cookie_in_garbage() -> None:
    """Whatever it is, it is found, or refused by a ValueError."""
    source = random.Random(0)
    garbage = [ENTRIES[:end] for end in range(len(ENTRIES))] + [ENTRIES[start:] for start in range(len(ENTRIES))]
    garbage += [source.randbytes(source.randrange(200)) for _ in range(500)]
    for _ in range(500):
        changed = bytearray(ENTRIES)
        for _ in range(3):
            changed[source.randrange(len(changed))] = source.choice([0, 1, 255, source.randrange(256)])
        garbage.append(bytes(changed))
    for entries in garbage:
        for number in 15, 150:
            try:
                assert isinstance(find_cookie(entries, number), bytes)
            except ValueError:
                continue


# --- the notes of a session

STATUS = SessionStatus(2, "native", "llvmpipe (LLVM 15.0.6, 256 bits)", ":0")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", ""),
        (":0.1", ":0.1"),
        ("a: b", "a: b"),
        ("a\nserver: 1", "a server: 1"),
        ("a\r\nb\x0bc\x0cd\x1ce\x85f\u2028g", "a b c d e f g"),
        (" \t a  b ", "a b"),
        ("\n", ""),
        ("\udce9\u20ac", "\udce9\u20ac"),
        ("renderer: x", "renderer: x"),
        ("\0", "\0"),
    ],
)
def test_notes_are_what_was_noted(text: str, kept: str) -> None:
    noted = STATUS.replace(renderer=text, original_display=text)
    assert parse_status(noted.as_text()) == STATUS.replace(renderer=kept, original_display=kept)
    assert len(noted.as_text().splitlines()) == len(noted.as_dict()) - 1
    assert parse_status(f"server: 7\n{noted.as_text()}").server == 7
    assert parse_status(f"{noted.as_text()}server: 7\n").server == 7


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "\0" * 100,
        STATUS.as_text()[:30],
        STATUS.as_text().replace("glx: 2", "glx: x"),
        STATUS.as_text().replace("glx: 2", "glx: "),
        STATUS.as_text().replace("glx: 2", "glx: " + "9" * 5000),
        STATUS.as_text() + "server: two",
        *(STATUS.as_text().replace(name, "x") for name in ("glx", "backend", "renderer", "original_display")),
    ],
    ids=range(12),
)
def test_notes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"in these notes|int"):
        parse_status(text)


def test_session_by_its_environment() -> None:
    with virtual_display(gl="none") as display:
        found = discovery.current(display.environ)
        assert found is not None
        assert found.target == os.getpid()
        assert found.status is not None
        assert found.status.replace(remembered="") == SessionStatus(
            0, "none", "", os.environ.get("DISPLAY", ""), server=parts(display)[1].pid
        )
        assert discovery.current({**display.environ, "DISPLAY": f"{display.display}.0"}) == found
        for name in "DISPLAY", "ANAHEADLESS_SESSION":
            assert discovery.current({**display.environ, name: ""}) is None
            assert discovery.current({key: value for key, value in display.environ.items() if key != name}) is None
        assert discovery.current({**display.environ, "DISPLAY": f"{display.display}0"}) is None
        other = f":1{display.display[1:]}"
        session = f"{other},{found.keeper}"
        assert discovery.current({"DISPLAY": other, "ANAHEADLESS_SESSION": session}) is None
        parts(display)[0].kill()
        wait_until(lambda: discovery.current(display.environ) is None)
    remove_socket(int(display.display[1:]))


SOME = (":2000,{}", ":2000,{} ", " :2000,{}", ":2000,{}\n", ":2000,{},1", "2000,{}", ":2000.0,{}", "host:2000,{}")


@pytest.mark.parametrize(
    "session",
    [
        "",
        ",",
        ":",
        ":2000",
        ":2000,",
        ":2000,-1",
        ":2000,0",
        ":2000,1",
        ":2000,1e3",
        ":2000,\u0661",
        ":2000,99999999999",
    ]
    + [":2000," + "9" * 300, ":2000," + "9" * 5000, ":" + "9" * 5000 + ",1", "\0", ":2000,\0", "\udcff"]
    + [text.format(os.getpid()) for text in SOME],
    ids=range(25),
)
def test_session_that_is_none(session: str) -> None:
    for display in ":2000", session.partition(",")[0], "":
        assert discovery.current({"ANAHEADLESS_SESSION": session, "DISPLAY": display}) is None


ASK = """
import os
from anaheadless.session import discovery
found = discovery.current(os.environ)
print(found and found.notes)
"""


@pytest.mark.parametrize(
    "what", ["missing", "fifo", "folder", "empty", "garbage", "/dev/zero", "/dev/null", "/dev/full"]
)
def test_process_that_looks_like_a_keeper(what: str, tmp_path: Path) -> None:
    """It has the keeper's command line, and something else where the notes would be: nobody waits for it."""
    path = Path(what) if what.startswith("/") else tmp_path / what
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif not what.startswith("/"):
        path.write_bytes(b"" if what == "empty" else os.urandom(5000))
    redirection = {"missing": "6<&-", "fifo": f'6<>"{path}"'}.get(what, f'6<"{path}"')
    stay = "print(flush=True); import sys; sys.stdin.read()"
    words = [sys.executable, "-c", stay, "keeper.py", ":2000", str(os.getpid()), "1", "/nonexistent", "0", "Xvfb"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(["sh", "-c", f'exec "$@" {redirection}', "sh", *words], **streams) as process:  # type: ignore[call-overload]
        try:
            assert process.stdout.readline() == b"\n"
            environ = {**os.environ, "DISPLAY": ":2000", "ANAHEADLESS_SESSION": f":2000,{process.pid}"}
            output = python("-c", ASK, env=environ, timeout=PATIENCE)
            assert (output.stdout, output.stderr) == ("None\n", "")
        finally:
            process.kill()
