"""The Qt of this process, whatever its binding, found without importing it; and a QApplication, on demand."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anaheadless.errors import print_stderr
from anaheadless.system.light_stdlib import suppress

BINDINGS = ("PyQt5", "PyQt6", "PySide2", "PySide6")
DRAW_SECONDS = 0.5

# Keeps the applications alive: some bindings delete a QApplication that nothing refers to.
_applications: list[Any] = []


def application() -> Any | None:
    """Return the application object, or None."""
    for binding in BINDINGS:
        core = getattr(sys.modules.get(f"{binding}.QtCore"), "QCoreApplication", None)
        instance = core.instance() if core is not None else None
        if instance is not None:
            return instance
    return None


def has_gui() -> bool:
    """Tell whether QtGui is imported, and libGL with it."""
    return any(f"{binding}.QtGui" in sys.modules for binding in BINDINGS)


def has_display(application: Any) -> bool:
    """Tell whether *application* is connected to a display."""
    # The C++ object knows: to Python, an application that was not made in Python is a QCoreApplication.
    return bool(application.inherits("QGuiApplication"))


def application_with_display() -> Any | None:
    """Return the application object if it is connected to a display, else None."""
    found = application()
    return found if found is not None and has_display(found) else None


def uses_x() -> bool:
    """Tell whether the application may need an X display; one on the platform ``offscreen`` does not."""
    name = getattr(application(), "platformName", None)
    return name is None or name() == "xcb"


def let_draw() -> None:
    """Let Qt draw the windows that can be seen, if this is the thread of its application.

    Qt draws a window that was only just shown when the X server says that it is exposed. This waits for that, for
    DRAW_SECONDS at most.
    """
    found = application_with_display()
    for binding in BINDINGS if found is not None else ():
        core, gui = (sys.modules.get(f"{binding}.{name}") for name in ("QtCore", "QtGui"))
        if core is None or gui is None or core.QCoreApplication.instance() is not found:
            continue
        if found.thread() != core.QThread.currentThread():
            return
        deadline = time.monotonic() + DRAW_SECONDS
        gui.QGuiApplication.sync()
        while time.monotonic() < deadline and any(
            window.isVisible() and window.isTopLevel() and not window.isExposed()
            for window in gui.QGuiApplication.allWindows()
        ):
            gui.QGuiApplication.sync()
        gui.QGuiApplication.sync()


def find_binding() -> str | None:
    """Choose a binding for a QApplication: soma's choice, else one that is imported, else one that is installed."""
    soma = sys.modules.get("soma.qt_gui.qt_backend")
    if soma is not None:
        with suppress(ImportError):  # soma looks for PyQt5 only, unless it is told otherwise
            soma.set_qt_backend()  # each import from qt_backend calls this, too; a second call does nothing
            return str(soma.get_qt_backend())
    for binding in BINDINGS:
        if f"{binding}.QtCore" in sys.modules:
            return binding
    for binding in BINDINGS:
        with suppress(ModuleNotFoundError):
            if importlib.util.find_spec(f"{binding}.QtWidgets") is not None:
                return binding
    return None


def ensure_application(binding: str) -> Any:
    """Return the application that is connected to a display; if there is none, make a QApplication with *binding*.

    As in soma, the QApplication replaces a QCoreApplication, and QtWebEngine can still be imported afterwards.
    """
    existing = application()
    if existing is not None:
        if has_display(existing):
            return existing
        # The binding that has made it may be another one: the module of its class tells which.
        _ownership(type(existing).__module__.partition(".")[0]).delete(existing)
    core, widgets = (importlib.import_module(f"{binding}.{name}") for name in ("QtCore", "QtWidgets"))
    core.QCoreApplication.setAttribute(core.Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    with _opengl_warning_hidden(core):
        made = widgets.QApplication(sys.argv[:1] or [""])
    if binding.startswith("PyQt"):
        _ownership(binding).transferto(made, None)
    _applications.append(made)
    return made


@contextmanager
def _opengl_warning_hidden(core: Any) -> Iterator[None]:
    """Hide Qt 5's warning that there are no OpenGL contexts to share, in a session without OpenGL."""
    if os.environ.get("QT_XCB_GL_INTEGRATION") != "none":
        yield
        return

    def filtered(kind: Any, context: Any, message: str) -> None:
        if "Cannot create platform OpenGL context" not in message:
            if before is not None:
                before(kind, context, message)
            else:
                print_stderr(message)

    before = core.qInstallMessageHandler(filtered)
    try:
        yield
    finally:
        core.qInstallMessageHandler(before)


def _ownership(binding: str) -> Any:
    """Return the module that controls which C++ objects belong to Python."""
    return importlib.import_module(binding.replace("PySide", "shiboken") if "PySide" in binding else f"{binding}.sip")
