"""What ``import anatomist.headless`` is in a session.

It is :mod:`anaheadless.headless`, with the same state, and what the original has besides: ``setup_headless()`` is
soma's, which makes a QApplication, and soma's modules are attributes.
"""

from __future__ import annotations

import importlib
from typing import Any

from anaheadless.api import anatomist as _anatomist
from anaheadless.api import soma as _soma
from anaheadless.headless import (
    HeadlessInfo,
    LaunchError,
    VirtualDisplay,
    find_mesa,
    relaunch,
    setup_virtualGL,
    stop_headless,
    test_glx,
    test_opengl,
    test_qapp,
    virtual_display,
)

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

# The default of HeadlessAnatomist(), which programs set here.
force_virtualgl = False


def setup_headless(
    need_opengl: bool | None = None, allow_virtualgl: bool = True, force_virtualgl: bool = False
) -> HeadlessInfo:
    """soma's, as in the original."""
    _load_soma()
    return _soma.setup_headless(need_opengl, allow_virtualgl, force_virtualgl)


def HeadlessAnatomist(  # noqa: N802
    *args: Any, implementation: str | None = None, allow_virtualgl: bool = True, **kwargs: Any
) -> Any:
    """:func:`anaheadless.HeadlessAnatomist`; soma's variables then describe the session."""
    force = kwargs.pop("force_virtualgl", force_virtualgl)

    def set_up() -> HeadlessInfo:
        _load_soma()
        return _soma.set_up(True, allow_virtualgl, force, qapp=False)  # Anatomist makes it

    return _anatomist.the_anatomist(set_up, implementation, *args, **kwargs)


Anatomist = HeadlessAnatomist


def _load_soma() -> None:
    """Have soma's modules imported, if they are installed, as the original imports them."""
    for name in "headless", "qt_backend":
        _find_soma(name)


def _find_soma(name: str) -> Any:
    """``soma.qt_gui.NAME``, or None where there is none."""
    path = f"soma.qt_gui.{name}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name not in ("soma", "soma.qt_gui", path):
            raise
        return None


def __getattr__(name: str) -> Any:
    if name == "hanatomist":
        return _anatomist.anatomist_so_far()
    found = _find_soma(name) if name in ("headless", "qt_backend") else None
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
