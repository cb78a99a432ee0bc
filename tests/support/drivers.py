"""OpenGL libraries that fail, each in its own way: real ones, made by gcc from programs/broken_gl.c."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anaheadless.system import libraries
from tests.support.helpers import PROGRAMS, gcc

HANG = "for (;;) pause()"
# How a libGL.so.1 may fail: the arguments for gcc, and what is then said of each candidate that loads it.
BROKEN = {
    "refuses": (["-DIN_CREATE=return NULL"], "refused: glXCreateContext gave none"),
    "crashes": (["-DIN_CREATE=*(volatile int *)NULL = 0"], "crashed: Segmentation fault"),
    "crashes when loaded": (["-DON_LOAD=abort()"], "crashed: Aborted"),
    "draws nothing": ([], "wrong pixels: corner: (0, 0, 0) was read back where (51, 102, 153) was drawn"),
    "exits": (['-DIN_QUERY=fputs("no licence left\\n", stderr); exit(1)'], "ended: status 1; no licence left"),
    "says it drew, and exits": (['-DIN_CREATE=puts("renderer: GeForce"), exit(0)'], "ended: status 0"),
}
HANGS = {
    "when loaded": [f"-DON_LOAD={HANG}"],
    "in glXQueryExtension": [f'-DIN_QUERY=fputs("waiting for the GPU\\n", stderr); {HANG}'],
}


def library(path: Path, source: Path | None, *arguments: str) -> Path:
    """A shared library that gcc makes from *source*, or from nothing; its soname is its file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    gcc("-shared", "-fPIC", f"-Wl,-soname,{path.name}", *arguments, "-o", path, "-x", "c", source or os.devnull)
    return path


def broken_gl(folder: Path, *arguments: str) -> Path:
    return library(folder / "libGL.so.1", PROGRAMS / "broken_gl.c", *arguments)


def renamed_gl(folder: Path, *arguments: str) -> dict[str, str]:
    """The variables for an OpenGL that draws, and says that a GPU does (programs/renamed_gl.c)."""
    return _in_front(folder, "libGL.so.1", "renamed_gl.c", *arguments)


def changed_egl(folder: Path, *arguments: str) -> dict[str, str]:
    """The variables for an EGL that draws, but for what *arguments* change (programs/changed_egl.c)."""
    return _in_front(folder, "libEGL.so.1", "changed_egl.c", *arguments)


def _in_front(folder: Path, name: str, source: str, *arguments: str) -> dict[str, str]:
    """The variables for a library of ours in front of the system's, of which it uses a copy."""
    system = libraries.find_library(name)
    if system is None:
        pytest.skip(f"{name} is not installed")
    other = f"{name[:-1]}9"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / other).write_bytes(Path(system).read_bytes().replace(f"{name}\0".encode(), f"{other}\0".encode()))
    library(folder / name, PROGRAMS / source, "-Wl,--no-as-needed", str(folder / other), *arguments)
    return {"LD_LIBRARY_PATH": str(folder)}


def vendor_with_libstdcxx(folder: Path, vendor: str) -> None:
    """A GLX vendor's library that is Mesa's, and needs a libstdc++ with the versions of its symbols.

    So does Mesa from 24.2 on, whose drivers are linked into libgallium.
    """
    mesa, cxx = libraries.find_library("libGLX_mesa.so.0"), libraries.find_library("libstdc++.so.6")
    if mesa is None or cxx is None:
        pytest.skip("Mesa's GLX library or libstdc++ is not installed")
    copy = folder / "libGLX_mesa.so.9"
    copy.write_bytes(Path(mesa).read_bytes().replace(b"libGLX_mesa.so.0\0", b"libGLX_mesa.so.9\0"))
    source = PROGRAMS / "needs_libstdcxx.c"
    for name in vendor, "indirect":  # the second is libglvnd's own fallback
        library(folder / f"libGLX_{name}.so.0", source, "-Wl,--no-as-needed", str(copy), cxx)


def lacking_vendor(folder: Path) -> dict[str, str]:
    """The variables for a Mesa whose drivers are not there: its GLX library needs one that is gone."""
    driver = library(folder / "libgallium-gone.so", None)
    for name in "libGLX_mesa.so.0", "libGLX_indirect.so.0":  # the second is libglvnd's own fallback
        library(folder / name, None, "-Wl,--no-as-needed", str(driver))
    driver.unlink()
    return {"LD_LIBRARY_PATH": str(folder)}
