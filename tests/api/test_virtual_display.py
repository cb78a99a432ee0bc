"""virtual_display(): displays for what a program starts, each with its own variables, screen and end."""

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
from tests.support.displays import parts, watch, xdpyinfo
from tests.support.drivers import BROKEN, broken_gl
from tests.support.helpers import PATIENCE, PROGRAMS, keepers_of, run_python, wait_until, write_program
from tests.support.pictures import filled, read_png


@pytest.mark.needs("xdpyinfo")
def test_display_comes_with_its_variables_and_leaves_those_of_the_program() -> None:
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
def test_each_of_several_displays_has_its_own_screen_and_end() -> None:
    screens = "640x480x24", "321x7x16", "100x200x30", "80x60x8"
    with ExitStack() as stack, virtual_display(gl="none") as outer:
        displays = [stack.enter_context(virtual_display(gl="none", screen=screen)) for screen in screens]
        lefts = [watch(display) for display in displays]
        assert len({display.display for display in (outer, *displays)}) == 5
        assert len({display.environ["XAUTHORITY"] for display in (outer, *displays)}) == 5
        for display, screen in zip(displays, screens):
            said = xdpyinfo(display.environ)
            size, _, depth = screen.rpartition("x")
            assert f"dimensions:    {size} pixels" in said
            assert f"depth of root window:    {depth} planes" in said
        stack.close()
        wait_until(lambda: not any(left() for left in lefts))
        assert "1280x1024 pixels" in xdpyinfo(outer.environ)


def test_threads_have_displays_of_their_own(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def paint_and_look(number: int) -> tuple[str, Callable[[], list[str]]]:
        colour, path = (10 * number, 255 - 20 * number, number), tmp_path / f"{number}.png"
        width, height = 101 + number, 51 + number
        together.wait(PATIENCE)
        with virtual_display(gl="none", screen=f"{width}x{height}") as display:
            value = str(int.from_bytes(bytes(colour), "big"))
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            command = [sys.executable, PROGRAMS / "paint_root.py", value]
            with subprocess.Popen(command, env=display.environ, text=True, **streams) as painter:  # type: ignore[call-overload]
                assert painter.stdout.readline() == "painted\n"
                display.screenshot(path)
                painter.kill()
            assert read_png(path) == filled(width, height, colour)
            return display.display, watch(display)

    with ThreadPoolExecutor(8) as pool:
        ended = list(pool.map(paint_and_look, range(8)))
    assert len({name for name, _ in ended}) == 8
    wait_until(lambda: not any(left() for _, left in ended))


def test_variables_to_start_from_can_be_given() -> None:
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
        assert run_python("-c", "pass", env=display.environ).returncode == 0
    assert base == given
    with virtual_display(environ={}, gl="none") as display:
        assert set(display.environ) == {"PYTHONPATH", "QT_XCB_GL_INTEGRATION", *session}


@pytest.mark.needs("xdpyinfo")
def test_options_reach_the_server(tmp_path: Path) -> None:
    # The server obeys the last word on its screen, which is that of server_args.
    more = ("-screen", "0", "322x240x16", "-maxclients", "64")
    with virtual_display(gl="none", screen="800x600", dpi=120, server_args=more) as display:
        assert (display.backend, display.renderer) == ("none", None)
        said = xdpyinfo(display.environ)
        assert "dimensions:    322x240 pixels (68x51 millimeters)" in said
        assert "    GLX\n" not in said
        assert "-maxclients" in parts(display)[1].cmdline()
        display.screenshot(tmp_path / "x.png")
    assert read_png(tmp_path / "x.png").size == (322, 240)


def test_it_decorates_a_function() -> None:
    done = []

    @virtual_display(gl="none", server_args=["-maxclients", "64"])
    def nothing() -> None:
        done.append(1)

    nothing()
    assert done == [1]


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
def test_options_that_make_no_sense_are_refused_before_anything_is_started(
    options: dict[str, Any], tmp_path: Path
) -> None:
    write_program(tmp_path / "bin" / "Xvfb", f"touch {tmp_path}/started")
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    with pytest.raises((ValueError, TypeError)) as refused, virtual_display(environ, **{"gl": "none", **options}):
        pass
    assert len(str(refused.value)) > 10
    assert not (tmp_path / "started").exists()
    assert not keepers_of(os.getpid())


def test_missing_server_is_said() -> None:
    nowhere = {"PATH": "/nonexistent"}
    with pytest.raises(LaunchError, match="Xvfb is not installed"), virtual_display(nowhere, server="xvfb"):
        pass


def test_words_of_a_failing_server_are_said_and_nothing_is_left() -> None:
    with (
        pytest.raises(LaunchError, match=r"(?s)ended before it was ready.*-no-such"),
        virtual_display(gl="none", server_args=["-no-such"]),
    ):
        pass
    wait_until(lambda: not keepers_of(os.getpid()))


@pytest.mark.parametrize("how", ["refuses", "crashes", "draws nothing"])
def test_opengl_that_fails_is_said_with_what_to_do(how: str, tmp_path: Path) -> None:
    arguments, said = BROKEN[how]
    write_program(tmp_path / "bin" / "Xvfb", "unset LD_LIBRARY_PATH", f'exec {shutil.which("Xvfb")} "$@"')
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
