"""Displays for what a program starts: several at a time, each with its own, and pictures of what they show."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from anaheadless import LaunchError, virtual_display
from anaheadless.session import discovery
from tests.support.displays import parts, python, watch, xdpyinfo
from tests.support.drivers import BROKEN, broken_gl
from tests.support.helpers import (
    PATIENCE,
    PROGRAMS,
    keepers_of,
    program,
    wait_until,
)
from tests.support.pictures import picture

# --- what one is


@pytest.mark.needs("xdpyinfo")
def test_display_and_its_environment() -> None:
    before = dict(os.environ)
    with virtual_display() as display:
        left = watch(display)
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
        lefts = [watch(display) for display in displays]
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
            return display.display, watch(display)

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(shoot, range(8)))
    assert len({name for name, _ in ended}) == 8
    wait_until(lambda: not any(left() for _, left in ended))


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
