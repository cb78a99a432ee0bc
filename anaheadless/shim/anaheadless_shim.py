"""Makes ``import anatomist.headless`` ours in the programs of a session, and soma's Qt backend content with it.

It runs in any target: on the standard library of Python 3.8 or newer, and next to nothing of it, since every program
of a session pays for that.
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
    """Answer the imports of this process that are ours to answer."""
    sys.meta_path.insert(0, First())
    sys.meta_path.append(Last())


def in_session() -> bool:
    return "ANAHEADLESS_SESSION" in os.environ


class First:
    """Answers before a real module of that name is looked for."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "anatomist.headless" and in_session():
            from importlib.machinery import ModuleSpec

            return ModuleSpec(name, Ours())  # type: ignore[arg-type]
        if name == "soma.qt_gui.headless" and in_session():
            for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
                find_spec = getattr(finder, "find_spec", None)  # old ones have find_module() instead
                spec: ModuleSpec | None = find_spec(name, path, target) if find_spec else None
                if spec is not None and spec.loader is not None:
                    spec.loader = Soma(spec.loader)  # type: ignore[assignment]
                    return spec
        return None


class Last:
    """Answers where no real module of that name has been found."""

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

            return ModuleSpec(name, StandIn(), is_package=True)  # type: ignore[arg-type]
        if name.startswith("anatomist.") and isinstance(_loader(sys.modules.get("anatomist")), StandIn):
            raise ModuleNotFoundError(f"No module named {name!r}: {NO_ANATOMIST}", name=name)
        return None


def _loader(module: ModuleType | None) -> Any:
    return getattr(getattr(module, "__spec__", None), "loader", None)


class Ours:
    """Loads anaheadless.api.anatomist_headless under the name that it stands for."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from anaheadless.api import anatomist_headless

        # One module, one state; the import system takes what it finds there.
        sys.modules[module.__name__] = anatomist_headless


class StandIn:
    """Loads an ``anatomist`` that is nothing but the place of ``anatomist.headless``."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        def missing(name: str) -> Any:
            raise AttributeError(f"module 'anatomist' has no attribute {name!r}: {NO_ANATOMIST}")

        module.__getattr__ = missing  # type: ignore[method-assign]


class Soma:
    """Loads soma's own module, and answers its set-up from the session."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        from anaheadless.api import soma

        soma.answer_for(module)
