"""The variables that your program gets: its display, and what you had set, unharmed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.launch import environment
from anaheadless.launch.environment import SHIM
from anaheadless.opengl.candidates import Candidate, ProbeResult

BASE = {"HOME": "/home/me", "DISPLAY": "localhost:10.0", "LD_PRELOAD": "mine.so", "ODD\udcff": "\udcfe"}
SESSION = {
    "DISPLAY": ":2345",
    "XAUTHORITY": "/proc/77/fd/5",
    "XDG_SESSION_TYPE": "x11",
    "ANAHEADLESS_SESSION": ":2345,77",
}
NATIVE = Candidate("native")
NO_OPENGL = {"QT_XCB_GL_INTEGRATION": "none"}
X11_FIRST = {"QT_QPA_PLATFORM": "xcb:nograb", "GDK_BACKEND": "x11,*"}


@pytest.mark.parametrize(
    ("extra", "runtime_folder", "expected"),
    [
        ({}, None, {}),
        ({}, "/tmp/mine", {"XDG_RUNTIME_DIR": "/tmp/mine"}),
        ({"XDG_RUNTIME_DIR": "/run/user/1"}, None, {"XDG_RUNTIME_DIR": "/run/user/1"}),
        ({"XDG_RUNTIME_DIR": "/gone"}, "/tmp/mine", {"XDG_RUNTIME_DIR": "/tmp/mine"}),
        ({"WAYLAND_DISPLAY": "wayland-0", "XDG_SESSION_TYPE": "wayland"}, None, {}),
        ({"QT_QPA_PLATFORM": "wayland;xcb"}, None, {}),
        ({"QT_QPA_PLATFORM": "offscreen", "GDK_BACKEND": "wayland,x11"}, None, {}),
        ({"QT_QPA_PLATFORM": "", "GDK_BACKEND": "broadway"}, None, {}),
        (X11_FIRST, None, X11_FIRST),
        ({"ANAHEADLESS_SESSION": ":9,1", "XAUTHORITY": "/home/me/.Xauthority"}, None, {}),
    ],
)
def test_a_program_gets_its_display_and_keeps_its_variables(
    extra: dict[str, str], runtime_folder: str | None, expected: dict[str, str]
) -> None:
    base = {**BASE, **extra}
    untouched = dict(base)
    built = environment.build(
        base, display=":2345", authority="/proc/77/fd/5", keeper=77, runtime_folder=runtime_folder
    )
    assert built == {**BASE, **SESSION, **NO_OPENGL, **expected}
    assert base == untouched


@pytest.mark.parametrize(
    ("extra", "without", "with_opengl"),
    [
        ({}, "none", None),
        ({"QT_XCB_GL_INTEGRATION": ""}, "", ""),
        ({"QT_XCB_GL_INTEGRATION": "xcb_egl"}, "xcb_egl", "xcb_egl"),
        ({"QT_XCB_GL_INTEGRATION": "none"}, "none", "none"),
        ({"QT_XCB_GL_INTEGRATION": "none", "ANAHEADLESS_SESSION": ":9,1"}, "none", None),
        ({"QT_XCB_GL_INTEGRATION": "xcb_egl", "ANAHEADLESS_SESSION": ":9,1"}, "xcb_egl", "xcb_egl"),
    ],
)
def test_qt_starts_no_opengl_where_there_is_none(extra: dict[str, str], without: str, with_opengl: str | None) -> None:
    """Unless the user says so; and a session in a session has its own."""
    base = {**BASE, **extra}
    for candidate, expected in (None, without), (NATIVE, with_opengl):
        built = environment.build(base, display=":2345", authority="/proc/77/fd/5", keeper=77, opengl=candidate)
        assert built.get("QT_XCB_GL_INTEGRATION") == expected


@pytest.mark.parametrize(
    ("renderer", "said", "hardware"),
    [
        ("NVIDIA A100-SXM4-80GB/PCIe/SSE2", "NVIDIA A100-SXM4-80GB/PCIe/SSE2", "1"),
        ("llvmpipe (LLVM 15.0.6, 256 bits)", "llvmpipe (LLVM 15.0.6, 256 bits)", "0"),
        ("Mesa Intel\xae UHD\ufffd", "Mesa Intel\\xae UHD\\ufffd", "1"),
        ("", "", "0"),
    ],
)
def test_a_program_is_told_what_draws(renderer: str, said: str, hardware: str) -> None:
    """But not what draws in a session around this one."""
    outer = {**BASE, "ANAHEADLESS_GL_RENDERER": "x", "ANAHEADLESS_GL_HARDWARE": "x"}
    told = {"ANAHEADLESS_GL_RENDERER": said, "ANAHEADLESS_GL_HARDWARE": hardware}
    for result, expected in (ProbeResult("drawn", renderer=renderer), told), (None, {}):
        built = environment.build(outer, display=":2345", authority="/a", keeper=77, opengl=NATIVE, result=result)
        assert {name: value for name, value in built.items() if name.startswith("ANAHEADLESS_GL_")} == expected


MINE = "/mine"


@pytest.mark.parametrize(
    ("before", "with_shim", "without"),
    [
        (None, SHIM, None),
        ("", SHIM, ""),
        (MINE, f"{SHIM}:{MINE}", MINE),
        (f":{MINE}:", f"{SHIM}::{MINE}", f":{MINE}:"),
        (SHIM, SHIM, None),
        (f"{MINE}:{SHIM}", f"{SHIM}:{MINE}", MINE),
    ],
)
def test_the_shim_stands_in_front_of_pythonpath_once(before: str | None, with_shim: str, without: str | None) -> None:
    base = {} if before is None else {"PYTHONPATH": before}
    for shim, expected in (True, with_shim), (False, without):
        built = environment.build(base, display=":2345", authority="/proc/77/fd/5", keeper=77, shim=shim)
        assert built.get("PYTHONPATH") == expected


def test_variables_of_a_process_are_read_as_the_kernel_has_them() -> None:
    block = b"A=1\0B=x=y\0EMPTY=\0=odd\0=x=y\0nothing\0BYTES=\xff\0A=second\0"
    assert environment.parse_block(block) == {"A": "1", "B": "x=y", "EMPTY": "", "BYTES": "\udcff"}
    assert environment.parse_block(b"") == {}


@given(st.binary())
def test_any_block_of_variables_can_be_read(block: bytes) -> None:
    for name, value in environment.parse_block(block).items():
        assert name
        assert "\0" not in name + value
