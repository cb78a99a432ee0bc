"""Virtual displays for the programs that a program starts, each with an environment of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anaheadless.api.keywords import with_keywords

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from anaheadless.api.screenshots import Screenshot
    from anaheadless.launch.run import Launch
    from anaheadless.options import Keywords, Screen
    from anaheadless.x11.windows import Window


@dataclass(frozen=True)
class VirtualDisplay:
    """A virtual display.

    :param display: its name, such as ``:2000``.
    :param authority: its X authority file.
    :param environ: the environment for programs that use the display.
    :param backend: where their OpenGL comes from: ``virtualgl``, ``nvidia``, ``native``, ``mesa`` or ``none``.
    :param renderer: GL_RENDERER of the OpenGL that drew in the test, or None.
    :param size: its width and height, in pixels.
    """

    display: str
    authority: str = field(repr=False)
    environ: dict[str, str] = field(repr=False, hash=False)
    backend: str
    renderer: str | None
    size: tuple[int, int]

    @property
    def number(self) -> int:
        """Its number, such as 2000."""
        return int(self.display[1:])

    def screenshot(self, path: str | os.PathLike[str] | None = None) -> Screenshot:
        """Take a screenshot of the display: its whole first screen, in 8-bit RGB, without the pointer.

        :param path: the PNG file to save it as, if any; an existing file is replaced.
        :raises LaunchError: the X server does not answer.
        :raises OSError: the file can't be written.
        """
        from anaheadless.api import screenshots

        return screenshots.take(self.display, self.authority, path)

    def windows(self) -> list[Window]:
        """List the windows that can be seen, but no menus and tooltips.

        Each has ``title``, ``x``, ``y``, ``width`` and ``height``, in pixels and without a window manager's frame.
        Without a window manager, the lowest window comes first.

        :raises LaunchError: the X server does not answer.
        """
        from anaheadless.x11 import windows

        return windows.list_windows(self.display, self.authority)


def describe(ready: Launch, screen: Screen) -> VirtualDisplay:
    """Describe the display of a session that has been started."""
    session, selection = ready.session, ready.selection
    backend = selection.chosen.name if selection and selection.chosen else "none"
    renderer = selection.result.renderer if selection and selection.result else None
    size = (screen.width, screen.height)
    return VirtualDisplay(session.display, session.authority, ready.environ, backend, renderer, size)


@with_keywords
@contextmanager
def virtual_display(environ: Mapping[str, str] | None = None, **options: Unpack[Keywords]) -> Iterator[VirtualDisplay]:
    """Start a display for programs that you start in a ``with`` block; it ends with the block, or with this process.

    You can have several at a time, in any threads. This process itself stays as it is. On systems other than Linux, no
    display is started: ``display`` is empty, and ``environ`` a copy without changes.

    :param environ: the environment to start from; default: :data:`os.environ`. The display's environment is a copy.
    :param options: the options of the command line: ``screen="1280x1024x24"`` (pixels, and bits), ``dpi`` (dots per
        inch), ``server="auto"``, ``server_args=()``, ``wm="none"``, ``gl="auto"``, ``gpu="auto"``, ``virtualgl=True``,
        ``vgl_display``, ``vgl_dlfaker=True``, ``start_timeout=30.0`` and ``probe_timeout=10.0`` (seconds),
        ``require=()`` (such as ``["egl"]``), ``shim=True``.
    :raises LaunchError: the display can't be started, or no OpenGL draws on it; no processes or files remain.
    :raises ValueError: an option has a wrong value; likewise TypeError.
    """
    from anaheadless.options import from_keywords

    wanted = from_keywords("virtual_display", options)
    if not sys.platform.startswith("linux"):
        yield VirtualDisplay("", "", dict(os.environ if environ is None else environ), "none", None, (0, 0))
        return
    from anaheadless.launch import run as launch

    ready = launch.start(wanted, os.environ if environ is None else environ, without='gl="none"')
    try:
        yield describe(ready, wanted.screen)
    finally:
        ready.session.close()
