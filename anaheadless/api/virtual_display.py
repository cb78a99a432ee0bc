"""Virtual displays for what a program starts: as many as it likes, each with an environment of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anaheadless.api.keywords import with_keywords

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from anaheadless.options import Keywords


@dataclass(frozen=True)
class VirtualDisplay:
    """A virtual display.

    :param display: its name, as ``:2000``.
    :param authority: its X authority file.
    :param environ: the environment for programs that are to use it.
    :param backend: where their OpenGL comes from: ``virtualgl``, ``nvidia``, ``native``, ``mesa`` or ``none``.
    :param renderer: GL_RENDERER of what drew, or None.
    """

    display: str
    authority: str = field(repr=False)
    environ: dict[str, str] = field(repr=False, hash=False)
    backend: str
    renderer: str | None

    def screenshot(self, path: str | os.PathLike[str]) -> None:
        """Save what the display shows now, as a PNG file: all of its first screen, RGB of 8 bits each, no pointer.

        :param path: of the file; one that is there is replaced.
        :raises LaunchError: the X server does not answer.
        :raises OSError: the file can't be written.
        """
        from anaheadless.x11 import screenshot

        screenshot.save(self.display, self.authority, os.fspath(path))


@with_keywords
@contextmanager
def virtual_display(environ: Mapping[str, str] | None = None, **options: Unpack[Keywords]) -> Iterator[VirtualDisplay]:
    """A display for the programs that are started in a ``with`` block; it ends with the block, or with this process.

    Several may be there at a time, and in any thread. Nothing of this process is changed.

    :param environ: what to put the display into, a copy of it; default: :data:`os.environ`.
    :param options: as of the command line: ``screen="1280x1024x24"`` (pixels, and bits), ``dpi`` (dots per inch),
        ``gl="auto"``, ``virtualgl=True``, ``vgl_display``, ``vgl_dlfaker=True``, ``server_args=()``,
        ``start_timeout=30.0`` and ``probe_timeout=10.0`` (seconds), ``shim=True``.
    :raises LaunchError: it can't be had, or it has no OpenGL; nothing is left of it.
    :raises ValueError: an option makes no sense, and likewise TypeError.
    """
    from anaheadless.launch import run as launch
    from anaheadless.options import from_keywords

    ready = launch.start(
        from_keywords("virtual_display", options), os.environ if environ is None else environ, without='gl="none"'
    )
    try:
        session, selection = ready.session, ready.selection
        backend = selection.chosen.name if selection and selection.chosen else "none"
        renderer = selection.result.renderer if selection and selection.result else None
        yield VirtualDisplay(session.display, session.authority, ready.environ, backend, renderer)
    finally:
        ready.session.end()
