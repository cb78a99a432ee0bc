"""What there is of Qt in this process, whatever its binding; nothing is imported to find out."""

from __future__ import annotations

import sys
from typing import Any

BINDINGS = ("PyQt5", "PyQt6", "PySide2", "PySide6")


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


def uses_x() -> bool:
    """Whether what Qt application there is may need an X display; one on the platform ``offscreen`` does not."""
    name = getattr(application(), "platformName", None)
    return name is None or name() == "xcb"
