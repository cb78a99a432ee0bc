"""Real programs draw real pixels, and leave without a word."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.helpers import CHECKOUT, PROGRAMS, run


def test_an_opengl_widget_is_drawn(tmp_path: Path) -> None:
    output = run("run", PROGRAMS / "gl_widget.py", tmp_path / "triangle.png")
    assert (output.returncode, output.stderr) == (0, "")
    drawn_by, inside, outside = output.stdout.splitlines()
    assert re.fullmatch("xcb .+", drawn_by)
    assert (inside, outside) == ("255 0 0", "0 0 255")
    assert (tmp_path / "triangle.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("platform", ["", "offscreen", "wayland", "wayland;xcb", "xcb"])
def test_a_plain_widget_is_drawn_without_opengl(platform: str) -> None:
    """On the X server, whatever an inherited QT_QPA_PLATFORM says."""
    environ = {**os.environ, "QT_QPA_PLATFORM": platform, "WAYLAND_DISPLAY": "wayland-0", "XDG_SESSION_TYPE": "wayland"}
    output = run("run", "--gl", "none", "--screen", "800x600", "--dpi", "120", PROGRAMS / "widget.py", env=environ)
    assert (output.returncode, output.stderr) == (0, "")
    assert output.stdout == "xcb 10 200 30\n800 600 24 120\n"


@pytest.mark.parametrize("chosen", [None, "xcb_egl"])
def test_qt_starts_no_egl_without_opengl(chosen: str | None) -> None:
    """Mesa from 26 on would say on stderr that there is no DRI3; made to say more, any Mesa does."""
    environ = {**os.environ, "EGL_LOG_LEVEL": "debug", **({"QT_XCB_GL_INTEGRATION": chosen} if chosen else {})}
    output = run("run", "--gl", "none", PROGRAMS / "widget.py", env=environ)
    assert (output.returncode, output.stdout.splitlines()[0]) == (0, "xcb 10 200 30")
    assert ("EGL" in output.stderr) is (chosen is not None)
    assert chosen or output.stderr == ""


def test_a_session_with_opengl_runs_in_one_without(tmp_path: Path) -> None:
    words = ("run", "--gl", "none", "-m", "anaheadless", "run", PROGRAMS / "gl_widget.py", tmp_path / "triangle.png")
    output = run(*words)
    assert (output.returncode, output.stderr) == (0, "")
    assert output.stdout.splitlines()[1:] == ["255 0 0", "0 0 255"]


@pytest.mark.parametrize("depth", [16, 24, 30])
@pytest.mark.server("xvfb", "xorg")
@pytest.mark.needs("xdpyinfo")
def test_the_screen_has_the_depth_that_is_asked_for(depth: int) -> None:
    output = run("exec", "--gl", "none", "--screen", f"640x480x{depth}", "xdpyinfo")
    assert f"depth of root window:    {depth} planes" in output.stdout
    assert "dimensions:    640x480 pixels" in output.stdout


@pytest.mark.needs("xdpyinfo")
def test_gl_none_starts_a_server_without_glx() -> None:
    assert "    GLX\n" in run("exec", "xdpyinfo").stdout
    assert "    GLX\n" not in run("exec", "--gl", "none", "xdpyinfo").stdout


def test_the_example_draws_its_picture(tmp_path: Path) -> None:
    picture = tmp_path / "brain.png"
    output = run("run", CHECKOUT / "examples" / "brain.py", picture)
    assert (output.returncode, output.stderr) == (0, "")
    lines = dict(line.split(": ", 1) for line in output.stdout.splitlines())
    assert lines["picture"].startswith(str(picture))
    assert lines["renderer"]
    assert picture.stat().st_size > 50_000  # a blank one takes some 5,000
