"""Answers the set-up of soma's Qt backend from the session, so that it starts no server of its own."""

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
    """soma's, with its parameters in its order: :func:`anaheadless.setup_headless`, and a QApplication.

    soma's QApplication has Qt's platform ``offscreen``; this one is on X. Without Qt, none is made.
    """
    return set_up(need_opengl, allow_virtualgl, force_virtualgl, qapp=qt.find_binding() is not None)


def set_up(need_opengl: bool | None, allow_virtualgl: bool, force_virtualgl: bool, *, qapp: bool) -> HeadlessInfo:
    """:func:`anaheadless.setup_headless`; soma's variables then describe the session."""
    if need_opengl is None:
        need_opengl = getattr(sys.modules.get("soma.qt_gui.headless"), "needs_opengl", True)
    info = setup.setup_headless(allow_virtualgl, force_virtualgl, need_opengl, qapp=qapp)
    tell(info)
    return info


def tell(info: HeadlessInfo | None) -> None:
    """Have soma's variables describe *info*, if soma is imported; None: nothing is set up any more."""
    module = sys.modules.get("soma.qt_gui.headless")
    if module is None:
        return
    server = None if info is None else info.virtual_display_proc
    variables = {
        "headless_initialized": info,
        "virtual_display_proc": server,
        "original_display": None if info is None else info.original_display,
        "display": None if server is None else int(server.session.display[1:]),  # there, it is a number
    }
    for name, value in variables.items():
        setattr(module, name, value)
    backend = importlib.import_module("soma.qt_gui.qt_backend")
    backend.headless = server is not None  # type: ignore[attr-defined]


def answer_for(module: ModuleType) -> None:
    """Put our set-up and tear-down into *module*, ``soma.qt_gui.headless``; all else there is soma's own."""
    terminate = module.terminate_virtual_display

    def forget_server() -> None:
        if isinstance(module.virtual_display_proc, ServerProcess):
            module.virtual_display_proc = None  # type: ignore[attr-defined]

    def terminate_virtual_display() -> None:
        if isinstance(module.virtual_display_proc, ServerProcess):
            setup.stop_headless()
        terminate()

    # Runs before soma's own exit handler, which would end the server while Qt is connected to it.
    atexit.register(forget_server)
    answers = {
        "setup_headless": setup_headless,
        "setup_headless_xvfb": setup_headless,
        "terminate_virtual_display": terminate_virtual_display,
    }
    for name, answer in answers.items():
        if hasattr(module, name):
            setattr(module, name, answer)
