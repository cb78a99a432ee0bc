"""Run graphical Python programs on machines without screens.

The functions are those of :mod:`anaheadless.headless`, imported when they are first asked for.
"""

from __future__ import annotations

# typing is no small import, and this one every command pays for.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"
__all__ = [  # as in the documentation
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

if TYPE_CHECKING:
    from anaheadless.headless import (
        Anatomist,
        HeadlessAnatomist,
        HeadlessInfo,
        LaunchError,
        VirtualDisplay,
        find_mesa,
        relaunch,
        setup_headless,
        setup_virtualGL,
        stop_headless,
        test_glx,
        test_opengl,
        test_qapp,
        virtual_display,
    )


def __getattr__(name: str) -> Any:
    if name in __all__:
        from anaheadless import headless

        return getattr(headless, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
