"""The public functions of anaheadless, for code in a program.

The functions have the names and meanings of those in BrainVISA's ``anatomist.headless``; :func:`relaunch`,
:func:`screenshot` and :func:`virtual_display` are new. Importing this module loads neither Qt nor OpenGL.
:mod:`anaheadless.api.anatomist_headless` holds what differs under the name ``anatomist.headless`` itself.

In a program that anaheadless has started, the functions start nothing: they report the session. In any other program,
they do what can still be done while it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anaheadless.api.anatomist import Anatomist as Anatomist
from anaheadless.api.anatomist import HeadlessAnatomist as HeadlessAnatomist
from anaheadless.api.queries import find_mesa as find_mesa
from anaheadless.api.queries import test_glx as test_glx
from anaheadless.api.queries import test_opengl as test_opengl
from anaheadless.api.queries import test_qapp as test_qapp
from anaheadless.api.relaunch import relaunch as relaunch
from anaheadless.api.screenshots import Screenshot as Screenshot
from anaheadless.api.screenshots import screenshot as screenshot
from anaheadless.api.setup import HeadlessInfo as HeadlessInfo
from anaheadless.api.setup import setup_headless as setup_headless
from anaheadless.api.setup import setup_virtualGL as setup_virtualGL
from anaheadless.api.setup import stop_headless as stop_headless
from anaheadless.api.virtual_display import VirtualDisplay as VirtualDisplay
from anaheadless.api.virtual_display import virtual_display as virtual_display
from anaheadless.errors import LaunchError as LaunchError

if not TYPE_CHECKING:  # for mypy, this would be a circle: anaheadless imports its functions from here
    from anaheadless import __all__ as __all__
