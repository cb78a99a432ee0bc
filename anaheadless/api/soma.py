"""The set-up of soma's Qt backend, which uses the session instead of starting another X server."""

from __future__ import annotations

import atexit
import importlib
import sys
from types import ModuleType

from anaheadless.api import qt, setup
from anaheadless.api.setup import HeadlessInfo, ServerProcess


def setup_headless(
    need_opengl: bool | None = None, allow_virtualgl: bool = True, force_virtualgl: bool = False
) -> HeadlessInfo:
    """Call :func:`anaheadless.setup_headless` with soma's order of parameters, and make a QApplication.

    This QApplication is on the X display; soma's own would have Qt's platform ``offscreen``. Without Qt, none is made.
    """
    return set_up(need_opengl, allow_virtualgl, force_virtualgl, qapp=qt.find_binding() is not None)


def set_up(need_opengl: bool | None, allow_virtualgl: bool, force_virtualgl: bool, *, qapp: bool) -> HeadlessInfo:
    """Call :func:`anaheadless.setup_headless`, and have soma's variables describe the session."""
    if need_opengl is None:
        need_opengl = getattr(sys.modules.get("soma.qt_gui.headless"), "needs_opengl", True)
    info = setup.setup_headless(allow_virtualgl, force_virtualgl, need_opengl, qapp=qapp)
    describe(info)
    return info


def describe(info: HeadlessInfo | None) -> None:
    """Have soma's variables describe *info*, if soma is imported.

    :param info: None if the set-up has been undone.
    """
    module = sys.modules.get("soma.qt_gui.headless")
    if module is None:
        return
    server = None if info is None else info.virtual_display_proc
    variables = {
        "headless_initialized": info,
        "virtual_display_proc": server,
        "original_display": None if info is None else info.original_display,
        "display": None if server is None else int(server.session.display[1:]),  # a number in soma
    }
    for name, value in variables.items():
        setattr(module, name, value)
    backend = importlib.import_module("soma.qt_gui.qt_backend")
    backend.headless = server is not None  # type: ignore[attr-defined]


def patch(module: ModuleType) -> None:
    """Replace the set-up and tear-down functions of *module*, ``soma.qt_gui.headless``, by those of this module."""
    terminate = module.terminate_virtual_display

    def forget_server() -> None:
        if isinstance(module.virtual_display_proc, ServerProcess):
            module.virtual_display_proc = None  # type: ignore[attr-defined]

    def terminate_virtual_display() -> None:
        if isinstance(module.virtual_display_proc, ServerProcess):
            setup.stop_headless()
        terminate()

    # This runs before soma's own exit handler, which would end the server while Qt is connected to it.
    atexit.register(forget_server)
    replacements = {
        "setup_headless": setup_headless,
        "setup_headless_xvfb": setup_headless,
        "terminate_virtual_display": terminate_virtual_display,
    }
    for name, replacement in replacements.items():
        if hasattr(module, name):
            setattr(module, name, replacement)
