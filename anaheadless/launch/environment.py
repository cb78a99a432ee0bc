"""The environment of the target: a pure function of the inherited one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from anaheadless.opengl.candidates import Candidate, ProbeResult
from anaheadless.opengl.hardware import FAKER_NAME
from anaheadless.options import HARDWARE, RENDERER, SESSION

# The names that shells and GitHub know; the kernel takes anything without "=".
NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")

# The folder of the sitecustomize.py that makes ``import anatomist.headless`` ours.
SHIM = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "shim")

# With these variables, programs choose a window system. They are kept when the first choice is X.
_PLATFORM_CHOICES = {"QT_QPA_PLATFORM": "xcb", "GDK_BACKEND": "x11"}
# Programs that draw through VirtualGL only with this, from Chrome 129 on: their name begins with one of these.
_CHROME_HACK = "VGL_CHROMEHACK"
_NEED_CHROME_HACK = re.compile("(google-)?chrome|chromium|microsoft-edge|matlab", re.IGNORECASE)
_QT_OPENGL = "QT_XCB_GL_INTEGRATION"  # none, xcb_egl or xcb_glx


def build(
    base: Mapping[str, str],
    *,
    display: str,
    authority: str,
    keeper: int,
    runtime_folder: str | None = None,
    opengl: Candidate | None = None,
    result: ProbeResult | None = None,
    shim: bool = False,
) -> dict[str, str]:
    """Return *base* with the session put in; all else is untouched.

    :param runtime_folder: the new XDG_RUNTIME_DIR, or None where it is good as it is.
    :param opengl: where OpenGL comes from, or None for no OpenGL.
    :param result: what has drawn with it, or None where that is not known yet.
    :param shim: whether Python programs get our ``anatomist.headless``.
    """
    environ = dict(base)
    environ.pop("WAYLAND_DISPLAY", None)
    for name, x11 in _PLATFORM_CHOICES.items():
        if not environ.get(name, x11).startswith(x11):
            del environ[name]
    environ.update(DISPLAY=display, XAUTHORITY=authority, XDG_SESSION_TYPE="x11")
    environ[SESSION] = f"{display},{keeper}"
    for name in RENDERER, HARDWARE:  # those of a session around this one
        environ.pop(name, None)
    if result is not None:
        # In ASCII: not every locale can encode what a driver calls itself.
        environ[RENDERER] = result.renderer.encode("ascii", "backslashreplace").decode()
        environ[HARDWARE] = str(int(result.hardware))
    # Without OpenGL, Qt starts EGL all the same, and newer Mesa complains about that on stderr.
    if opengl is None:
        environ.setdefault(_QT_OPENGL, "none")
    elif SESSION in base and base.get(_QT_OPENGL) == "none":  # set by a session around this one
        del environ[_QT_OPENGL]
    if runtime_folder is not None:
        environ["XDG_RUNTIME_DIR"] = runtime_folder
    searched = base["PYTHONPATH"].split(":") if base.get("PYTHONPATH") else []
    # A session around this one has put it there, too.
    others = [folder for folder in searched if folder != SHIM]
    wanted = [SHIM, *others] if shim else others
    if wanted != searched:
        _set_list(environ, "PYTHONPATH", wanted)
    return with_opengl(environ, opengl or Candidate("none"))


def leave(base: Mapping[str, str], original_display: str) -> dict[str, str]:
    """Return *base* without the session that it was in.

    :param original_display: DISPLAY before that session, or empty.
    """
    environ = with_opengl(base, Candidate("none"))
    for name in ("DISPLAY", "XAUTHORITY", "XDG_SESSION_TYPE", SESSION, RENDERER, HARDWARE):
        environ.pop(name, None)
    if environ.get(_QT_OPENGL) == "none":
        del environ[_QT_OPENGL]
    if original_display:
        environ.update(DISPLAY=original_display, XDG_SESSION_TYPE="x11")
    _set_list(
        environ, "PYTHONPATH", [each for each in environ.get("PYTHONPATH", "").split(":") if each not in ("", SHIM)]
    )
    return environ


def with_opengl(base: Mapping[str, str], opengl: Candidate) -> dict[str, str]:
    """Return *base* with the variables of *opengl*, and of no other candidate."""
    environ = {**base, **opengl.variables}
    # ld.so takes blanks, too. Two different fakers in one process hang or abort: those of an outer session go.
    preloaded = [path for path in re.split("[: ]+", base.get("LD_PRELOAD", "")) if path]
    kept = [path for path in preloaded if not FAKER_NAME.fullmatch(os.path.basename(path))]
    if kept != preloaded and "VGL_ISACTIVE" not in opengl.variables:
        environ.pop("VGL_ISACTIVE", None)
    if opengl.preload or kept != preloaded:
        _set_list(environ, "LD_PRELOAD", (*opengl.preload, *kept))
    if opengl.library_path:
        searched = filter(None, base.get("LD_LIBRARY_PATH", "").split(":"))
        _set_list(environ, "LD_LIBRARY_PATH", (*opengl.library_path, *searched))
    return environ


def for_program(environ: Mapping[str, str], executable: str) -> Mapping[str, str]:
    """Return *environ* with what VirtualGL needs for some programs."""
    if "VGL_ISACTIVE" in environ and _NEED_CHROME_HACK.match(os.path.basename(executable)):
        return {_CHROME_HACK: "1", **environ}
    return environ


def _set_list(environ: dict[str, str], name: str, entries: Iterable[str]) -> None:
    """Set a variable to the *entries*, each once; without any, remove it."""
    environ[name] = ":".join(dict.fromkeys(entries))
    if not environ[name]:
        del environ[name]


def parse_block(block: bytes) -> dict[str, str]:
    """Parse ``/proc/PID/environ`` to what :data:`os.environ` would hold; of doubles, the first counts."""
    environ: dict[str, str] = {}
    for entry in os.fsdecode(block).split("\0"):
        name, equals, value = entry.partition("=")
        if name and equals:
            environ.setdefault(name, value)
    return environ
