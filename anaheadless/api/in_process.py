"""A display for a program that runs already: what can still be done there, and how it is undone.

What a launched program gets before its first line has to be put in here piece by piece: the variables, for the program
itself and for what it starts, and the libraries, which ld.so would have preloaded.
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

# What VirtualGL's faker, or another libGL, has to come before. Afterwards it ends the program: "VirtualGL extensions
# not found on X display", seen with 3.1.4 once libX11 was there.
_TOO_LATE = ("libGL.so", "libGLX.so", "libX11.so")


def may_preload() -> bool:
    """Whether libraries can still be put in front of libGL in this process."""
    if qt.application() is not None or qt.has_gui():
        return False
    return not any(name in path for path in libraries.loaded_libraries() for name in _TOO_LATE)


# By name: what a variable was, and what it was set to; None for "not set". (Python 3.8 runs this, too.)
Changes = Dict[str, Tuple[Optional[str], Optional[str]]]  # noqa: UP006


def change(environ: Mapping[str, str]) -> Changes:
    """Have :data:`os.environ` be *environ*; return what that changed."""
    names = {*os.environ, *environ}
    changes = {name: (os.environ.get(name), environ.get(name)) for name in names}
    changes = {name: (old, new) for name, (old, new) in changes.items() if old != new}
    for name, (_, new) in changes.items():
        _set(name, new)
    return changes


def undo(changes: Changes) -> None:
    """Put back what there was; what others have changed since then is theirs."""
    for name, (old, new) in changes.items():
        if os.environ.get(name) == new:
            _set(name, old)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def load(candidate: Candidate) -> None:
    """Load the libraries of *candidate*; :raises LaunchError: one of them can't be."""
    for library in candidates.in_process(candidate).load:
        try:
            load_first(library)
        except OSError as error:
            raise LaunchError(
                f"{library} can't be loaded: {error}", hint="anaheadless doctor tests OpenGL and shows what fails."
            ) from error


def look_at_display(timeout: float) -> ProbeResult:
    """What comes of a picture on the display that DISPLAY names, drawn with whatever a program here would draw with."""
    return run_probe(Candidate("native"), this_python(), os.environ, timeout)


def start(need_opengl: bool, allow_virtualgl: bool, force_virtualgl: bool, without: str) -> launch.Launch:
    """A session for this process; where OpenGL is needed, it has drawn, and its libraries are loaded.

    :param without: how to ask for no OpenGL.
    :raises LaunchError: there is none.
    """
    launch.check_proc()
    request = None
    if need_opengl:
        request = OpenGLRequest(
            virtualgl=allow_virtualgl,
            force_virtualgl=allow_virtualgl and force_virtualgl,
            preload=may_preload(),
        )
    ready = launch.start(Options(opengl=request, shim=False), os.environ, without=without, running=True)
    try:
        if ready.selection is not None and ready.selection.chosen is not None:
            load(ready.selection.chosen)
    except BaseException:
        ready.session.end()
        raise
    return ready


def virtualgl_for_display(timeout: float) -> dict[str, str] | None:
    """Load VirtualGL, for the display that DISPLAY names; return the environment that goes with it, or None.

    :raises LaunchError: it has drawn in another process, but can't be loaded in this one.
    """
    request = OpenGLRequest("virtualgl", preload=may_preload())
    # Not on DISPLAY itself, which a program would draw on without VirtualGL.
    known = hardware.detect(os.environ).replace(outer_display=None)
    for candidate in candidates.candidates(known, request):
        tried = candidates.in_process(candidate)
        if run_probe(tried, this_python(), environment.with_opengl(os.environ, tried), timeout).drawn:
            load(candidate)
            return environment.with_opengl(os.environ, candidate)
    return None
