"""Import hooks for the programs of a session: ``anatomist.headless`` is anaheadless's, and soma uses the session.

This runs in every Python of a session, with Python 3.8 or newer and its standard library. It imports next to nothing,
because it delays the start of every program.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

PACKAGE = os.path.dirname(os.path.dirname(__file__))
NO_ANATOMIST = "Anatomist is not installed for this Python (there is anatomist.headless, which anaheadless brings)"


def install() -> None:
    """Add the import hooks to this process."""
    sys.meta_path.insert(0, FirstFinder())
    sys.meta_path.append(LastFinder())


def in_session() -> bool:
    return "ANAHEADLESS_SESSION" in os.environ


class FirstFinder:
    """Finder of ``anatomist.headless`` and ``soma.qt_gui.headless``, before any other finder."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "anatomist.headless" and in_session():
            from importlib.machinery import ModuleSpec

            return ModuleSpec(name, HeadlessLoader())  # type: ignore[arg-type]
        if name == "soma.qt_gui.headless" and in_session():
            for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
                find_spec = getattr(finder, "find_spec", None)  # old finders have find_module() instead
                spec: ModuleSpec | None = find_spec(name, path, target) if find_spec else None
                if spec is not None and spec.loader is not None:
                    spec.loader = SomaLoader(spec.loader)  # type: ignore[assignment]
                    return spec
        return None


class LastFinder:
    """Finder of ``anaheadless`` and ``anatomist``, where no other finder knows them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not in_session():
            return None
        if name == "anaheadless":
            from importlib.util import spec_from_file_location

            return spec_from_file_location(
                name, os.path.join(PACKAGE, "__init__.py"), submodule_search_locations=[PACKAGE]
            )
        if name == "anatomist":
            from importlib.machinery import ModuleSpec

            return ModuleSpec(name, PlaceholderLoader(), is_package=True)  # type: ignore[arg-type]
        if name.startswith("anatomist.") and isinstance(_loader(sys.modules.get("anatomist")), PlaceholderLoader):
            raise ModuleNotFoundError(f"No module named {name!r}: {NO_ANATOMIST}", name=name)
        return None


def _loader(module: ModuleType | None) -> Any:
    return getattr(getattr(module, "__spec__", None), "loader", None)


class HeadlessLoader:
    """Loader of ``anatomist.headless``, which is :mod:`anaheadless.api.anatomist_headless`."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from anaheadless.api import anatomist_headless

        # The same module under both names has one state. The import system returns what it finds in sys.modules.
        sys.modules[module.__name__] = anatomist_headless


class PlaceholderLoader:
    """Loader of an ``anatomist`` that has nothing but ``anatomist.headless``."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        def missing(name: str) -> Any:
            raise AttributeError(f"module 'anatomist' has no attribute {name!r}: {NO_ANATOMIST}")

        module.__getattr__ = missing  # type: ignore[method-assign]


class SomaLoader:
    """Loader of soma's own module, whose set-up it replaces."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        from anaheadless.api import soma

        soma.patch(module)
