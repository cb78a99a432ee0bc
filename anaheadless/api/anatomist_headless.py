"""The module that ``import anatomist.headless`` gives in a session.

It has the names of :mod:`anaheadless.headless`, with the same state. It differs where the original does:
``setup_headless()`` is soma's, which makes a QApplication, and soma's modules are attributes.
"""

from __future__ import annotations

import importlib
from typing import Any

from anaheadless import __all__ as __all__
from anaheadless import headless as _headless
from anaheadless.api import anatomist as _anatomist
from anaheadless.api import soma as _soma
from anaheadless.api.setup import HeadlessInfo

# The default of HeadlessAnatomist(); programs set it here, as they do in the original.
force_virtualgl = False


def setup_headless(
    need_opengl: bool | None = None, allow_virtualgl: bool = True, force_virtualgl: bool = False
) -> HeadlessInfo:
    """Call soma's ``setup_headless()``, as the original does."""
    _load_soma()
    return _soma.setup_headless(need_opengl, allow_virtualgl, force_virtualgl)


def HeadlessAnatomist(  # noqa: N802
    *args: Any, implementation: str | None = None, allow_virtualgl: bool = True, **kwargs: Any
) -> Any:
    """Return :func:`anaheadless.HeadlessAnatomist`, and have soma's variables describe the session."""
    force = kwargs.pop("force_virtualgl", force_virtualgl)

    def set_up() -> HeadlessInfo:
        _load_soma()
        return _soma.set_up(True, allow_virtualgl, force, qapp=False)  # Anatomist makes the QApplication

    return _anatomist.the_anatomist(set_up, implementation, *args, **kwargs)


Anatomist = HeadlessAnatomist


def _load_soma() -> None:
    """Import soma's modules, if they are installed, as the original imports them."""
    for name in "headless", "qt_backend":
        _find_soma(name)


def _find_soma(name: str) -> Any:
    """Return the module ``soma.qt_gui.NAME``, or None where it is not installed."""
    path = f"soma.qt_gui.{name}"
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name not in ("soma", "soma.qt_gui", path):
            raise
        return None


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(_headless, name)
    if name == "hanatomist":
        return _anatomist.anatomist_so_far()
    found = _find_soma(name) if name in ("headless", "qt_backend") else None
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
