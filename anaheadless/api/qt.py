"""What there is of Qt in this process, found without an import, whatever its binding; and a QApplication, on demand."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from anaheadless.errors import print_stderr
from anaheadless.system.light_stdlib import suppress

BINDINGS = ("PyQt5", "PyQt6", "PySide2", "PySide6")

# Not all bindings keep a QApplication that nobody refers to.
_made: list[Any] = []


def application() -> Any | None:
    """The application object, or None."""
    for binding in BINDINGS:
        core = getattr(sys.modules.get(f"{binding}.QtCore"), "QCoreApplication", None)
        instance = core.instance() if core is not None else None
        if instance is not None:
            return instance
    return None


def has_gui() -> bool:
    """Whether QtGui is imported, and libGL with it."""
    return any(f"{binding}.QtGui" in sys.modules for binding in BINDINGS)


def has_display(application: Any) -> bool:
    """Whether *application* is one that has a display, and keeps it."""
    # Asked of the C++ object: one that was not made in Python is a QCoreApplication to Python.
    return bool(application.inherits("QGuiApplication"))


def application_with_display() -> Any | None:
    """The application object, if it has a display, or None."""
    found = application()
    return found if found is not None and has_display(found) else None


def uses_x() -> bool:
    """Whether what Qt application there is may need an X display; one on the platform ``offscreen`` does not."""
    name = getattr(application(), "platformName", None)
    return name is None or name() == "xcb"


def find_binding() -> str | None:
    """What to make a QApplication with: soma's choice, else what is imported, else what is installed, else None."""
    soma = sys.modules.get("soma.qt_gui.qt_backend")
    if soma is not None:
        with suppress(ImportError):  # it looks for PyQt5 only, unless it is told otherwise
            soma.set_qt_backend()  # as each import from it does; the second time, it does nothing
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
    """The application that has a display; if there is none, a QApplication is made with *binding*, and kept for ever.

    As in soma, it replaces a QCoreApplication, and QtWebEngine can still be imported afterwards.
    """
    existing = application()
    if existing is not None:
        if has_display(existing):
            return existing
        # Where its class is from tells the binding, which may be another one.
        _ownership(type(existing).__module__.partition(".")[0]).delete(existing)
    core, widgets = (importlib.import_module(f"{binding}.{name}") for name in ("QtCore", "QtWidgets"))
    core.QCoreApplication.setAttribute(core.Qt.ApplicationAttribute.AA_ShareOpenGLContexts)
    with _no_word_about_opengl(core):
        made = widgets.QApplication(sys.argv[:1] or [""])
    if binding.startswith("PyQt"):
        _ownership(binding).transferto(made, None)
    _made.append(made)
    return made


@contextmanager
def _no_word_about_opengl(core: Any) -> Iterator[None]:
    """Have Qt 5 not complain that there are no OpenGL contexts to share, in a session without OpenGL."""
    if os.environ.get("QT_XCB_GL_INTEGRATION") != "none":
        yield
        return

    def pass_on(kind: Any, context: Any, message: str) -> None:
        if "Cannot create platform OpenGL context" not in message:
            if before is not None:
                before(kind, context, message)
            else:
                print_stderr(message)

    before = core.qInstallMessageHandler(pass_on)
    try:
        yield
    finally:
        core.qInstallMessageHandler(before)


def _ownership(binding: str) -> Any:
    """The module that knows which C++ objects belong to Python."""
    return importlib.import_module(binding.replace("PySide", "shiboken") if "PySide" in binding else f"{binding}.sip")
