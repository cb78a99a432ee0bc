"""Displays and OpenGL for graphical Python programs on machines without screens.

The functions are those of :mod:`anaheadless.headless`, which is imported when one of them is first used.
"""

from __future__ import annotations

# Not from typing: every command imports this module, and typing is slow to import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from anaheadless.api.mapping import MapResult as MapResult
    from anaheadless.api.mapping import map as map  # noqa: A004  # as the built-in function
    from anaheadless.api.notebook import load_ipython_extension as load_ipython_extension
    from anaheadless.headless import *
else:

    def __getattr__(name):
        if name in _NOT_FOR_STARS:
            from importlib import import_module

            return getattr(import_module(f"anaheadless.api.{_NOT_FOR_STARS[name]}"), name)
        if name in __all__:
            from anaheadless import headless

            return getattr(headless, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "0.1.0"
__all__ = [  # the public names: anaheadless.headless and anatomist.headless export them, too
    "Anatomist",
    "HeadlessAnatomist",
    "HeadlessInfo",
    "LaunchError",
    "Screenshot",
    "VirtualDisplay",
    "find_mesa",
    "relaunch",
    "screenshot",
    "setup_headless",
    "setup_virtualGL",
    "stop_headless",
    "test_glx",
    "test_opengl",
    "test_qapp",
    "virtual_display",
]
# Public as well, and in which module of api; but ``import *`` must not replace the built-in map(), and IPython alone
# calls the last one.
_NOT_FOR_STARS = {"MapResult": "mapping", "map": "mapping", "load_ipython_extension": "notebook"}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_NOT_FOR_STARS})
