"""The in-process side: what code asks for that runs inside a launched program, or was started without one.

The functions are those of BrainVISA's ``anatomist.headless``, with its names and meanings, and two more for
everybody: :func:`relaunch` and :func:`virtual_display`. Importing this loads neither Qt nor OpenGL, and little else.
What differs under the name ``anatomist.headless`` itself is in :mod:`anaheadless.api.anatomist_headless`.

Inside a launched program, nothing is started: the functions report the session. Outside, they do what can still be done
in a process that runs.
"""

from __future__ import annotations

from anaheadless.api.anatomist import Anatomist, HeadlessAnatomist
from anaheadless.api.queries import find_mesa, test_glx, test_opengl, test_qapp
from anaheadless.api.relaunch import relaunch
from anaheadless.api.setup import HeadlessInfo, setup_headless, setup_virtualGL, stop_headless
from anaheadless.api.virtual_display import VirtualDisplay, virtual_display
from anaheadless.errors import LaunchError

__all__ = [
    "Anatomist",
    "HeadlessAnatomist",
    "HeadlessInfo",
    "LaunchError",
    "VirtualDisplay",
    "find_mesa",
    "relaunch",
    "setup_headless",
    "setup_virtualGL",
    "stop_headless",
    "test_glx",
    "test_opengl",
    "test_qapp",
    "virtual_display",
]
