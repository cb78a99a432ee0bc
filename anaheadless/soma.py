"""Answers the set-up of soma's Qt backend from the session, so that it starts no server of its own."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from anaheadless.headless import HeadlessInfo, setup_headless


def answer_for(module: ModuleType) -> None:
    """Put our set-up into *module*, which is ``soma.qt_gui.headless``; all else there is soma's own."""

    def answer(
        need_opengl: bool | None = None, allow_virtualgl: bool = True, force_virtualgl: bool = False
    ) -> HeadlessInfo:
        info = setup_headless(allow_virtualgl, force_virtualgl, need_opengl)
        if info.headless and info.qapp is None:
            make_application(info)
        return info

    for name in "setup_headless", "setup_headless_xvfb":
        if hasattr(module, name):
            setattr(module, name, answer)


def make_application(info: HeadlessInfo) -> None:
    """Make the QApplication that soma would make, but on X: soma's has Qt's platform ``offscreen``.

    As soma does it: kept for ever, and so that QtWebEngine can still be imported.
    """
    backend = importlib.import_module("soma.qt_gui.qt_backend")
    backend.set_qt_backend()  # as each import from it does; the second time, it does nothing
    binding = backend.get_qt_backend()
    core, widgets = (importlib.import_module(f"{binding}.{name}") for name in ("QtCore", "QtWidgets"))
    if core.QCoreApplication.instance() is not None:
        return
    core.QCoreApplication.setAttribute(core.Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    info.qapp = widgets.QApplication(sys.argv[:1] or [""])
    importlib.import_module(f"{binding}.sip").transferto(info.qapp, None)
