"""Changes to a program that runs already, to give it a display; and how to undo them.

A launched program gets its variables and preloaded libraries before its first line. A running program has to be given
them one by one: the variables through os.environ, the libraries by loading them by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Dict, Optional, Tuple  # noqa: UP035

from anaheadless.api import qt
from anaheadless.errors import LaunchError
from anaheadless.launch import environment
from anaheadless.launch import run as launch
from anaheadless.opengl import candidates, hardware
from anaheadless.opengl.candidates import Candidate, ProbeResult
from anaheadless.opengl.probe import run_probe
from anaheadless.opengl.rendercheck import load_first
from anaheadless.options import OpenGLRequest, Options
from anaheadless.system import libraries
from anaheadless.system.programs import this_python

# VirtualGL's faker, or another libGL, has to be loaded before these. Loaded after them, it ends the program:
# "VirtualGL extensions not found on X display", seen with VirtualGL 3.1.4 once libX11 was loaded.
_BLOCKING_LIBRARIES = ("libGL.so", "libGLX.so", "libX11.so")


def can_preload() -> bool:
    """Tell whether libraries can still be loaded before libGL in this process."""
    if qt.application() is not None or qt.has_gui():
        return False
    return not any(name in path for path in libraries.loaded_libraries() for name in _BLOCKING_LIBRARIES)


# For each variable, its old and its new value; None means "not set". (Python 3.8 runs this, too.)
Changes = Dict[str, Tuple[Optional[str], Optional[str]]]  # noqa: UP006


def set_environment(environ: Mapping[str, str]) -> Changes:
    """Make :data:`os.environ` equal to *environ*; return the changes."""
    names = {*os.environ, *environ}
    changes = {name: (os.environ.get(name), environ.get(name)) for name in names}
    changes = {name: (old, new) for name, (old, new) in changes.items() if old != new}
    for name, (_, new) in changes.items():
        _set(name, new)
    return changes


def restore_environment(changes: Changes) -> None:
    """Undo *changes*, except of variables that others have changed since."""
    for name, (old, new) in changes.items():
        if os.environ.get(name) == new:
            _set(name, old)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def load_libraries(candidate: Candidate) -> None:
    """Load the libraries of *candidate* into this process.

    :raises LaunchError: one of them can't be loaded.
    """
    for library in candidates.in_process(candidate).load:
        try:
            load_first(library)
        except OSError as error:
            raise LaunchError(
                f"{library} can't be loaded: {error}", hint="anaheadless doctor tests OpenGL and shows what fails."
            ) from error


def probe_display(timeout: float) -> ProbeResult:
    """Draw a test picture on the display that DISPLAY names, with the OpenGL that any program here would use."""
    return run_probe(Candidate("native"), this_python(), os.environ, timeout)


def start_session(options: Options, without: str) -> launch.Launch:
    """Start a session for this process; test OpenGL and load its libraries, if OpenGL is needed.

    :param without: how a caller asks for no OpenGL; error messages mention it.
    :raises LaunchError: the session can't be started, or no OpenGL draws.
    """
    ready = start_unused_session(options, without)
    try:
        if ready.selection is not None and ready.selection.chosen is not None:
            load_libraries(ready.selection.chosen)
    except BaseException:
        ready.session.close()
        raise
    return ready


def start_unused_session(options: Options, without: str) -> launch.Launch:
    """Start the same session as :func:`start_session` does, but load no libraries."""
    launch.check_proc()
    opengl = options.opengl and options.opengl.replace(preload=can_preload())
    wanted = options.replace(opengl=opengl, shim=False)
    return launch.start(wanted, os.environ, role=launch.Role(in_process=True), without=without)


def virtualgl_for_display(timeout: float) -> dict[str, str] | None:
    """Load VirtualGL for the display that DISPLAY names.

    :return: the environment that VirtualGL needs, or None if it does not draw.
    :raises LaunchError: VirtualGL has drawn in a separate process, but can't be loaded into this one.
    """
    request = OpenGLRequest("virtualgl", preload=can_preload())
    # VirtualGL is not to render on DISPLAY itself: without VirtualGL, a program would do the same.
    host = hardware.detect(os.environ).replace(outer_display=None)
    for candidate in candidates.candidates(host, request):
        tried = candidates.in_process(candidate)
        if run_probe(tried, this_python(), environment.with_opengl(os.environ, tried), timeout).drawn:
            load_libraries(candidate)
            return environment.with_opengl(os.environ, candidate)
    return None
