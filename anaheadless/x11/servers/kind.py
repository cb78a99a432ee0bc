"""What all kinds of X servers have in common: what is to be known of a kind, and how its program is found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from anaheadless.options import MAX_SIDE, Screen
from anaheadless.system.light_stdlib import Record
from anaheadless.system.programs import find_program, this_python


class Descriptors(Record):
    """The descriptors that a server inherits, by their numbers there; without a number, it gets no such descriptor.

    :param listeners: the display's listening sockets: the file, and the abstract one.
    :param cookie: the X authority file.
    :param ready: the pipe that the server writes its display number to when it is ready.
    :param compositor: one end of a socket pair; the other end is for a
        :class:`~anaheadless.x11.null_compositor.NullCompositor`.
    :param configuration: a file with what :attr:`ServerKind.configure` returns.
    :param vnc: a listening socket for VNC clients, which nobody is told of.
    """

    listeners: tuple[int, int] = (3, 4)
    cookie: int = 5
    ready: int = 9
    compositor: int | None = None
    configuration: int | None = None
    vnc: tuple[int, ...] = ()


class ServerCall(Record):
    """What a server is to be called with.

    :param dpi: dots per inch, or None for the server's own default.
    :param glx: whether to load GLX: without it, a server starts in half the time.
    :param extra: further arguments. They come last, so that they override the rest.
    :param activate: whether the server inherits its listening sockets. Otherwise it makes its own.
    :param knows_geometry: whether an Xwayland has the option -geometry.
    """

    program: str
    number: int
    screen: Screen
    dpi: int | None = None
    glx: bool = True
    extra: tuple[str, ...] = ()
    activate: bool = True
    knows_geometry: bool = True


class ServerKind(Record):
    """A kind of X server.

    :param name: what ``--server`` calls it.
    :param programs: the names of its program, or their paths where they are not on PATH, best first.
    :param command: makes the command line.
    :param depths: the depths that its screens can have.
    :param smallest: the width and height of the smallest screen that it can make, and likewise *largest*.
    :param modules: if any are named, one of these files has to exist.
    :param activation: the number of descriptors that it takes by socket activation, see sd_listen_fds(3); 0 if the
        command line names them.
    :param variables: environment variables that it needs.
    :param configure: makes the contents of its configuration file, where it needs one.
    :param knows_geometry: asks a program whether it has the option -geometry, where some have not.
    """

    name: str
    programs: tuple[str, ...]
    command: Callable[[ServerCall], list[str]]
    depths: tuple[int, ...]
    smallest: tuple[int, int] = (1, 1)
    largest: tuple[int, int] = (MAX_SIDE, MAX_SIDE)
    modules: tuple[str, ...] = ()
    descriptors: Descriptors = Descriptors()
    activation: int = 2
    variables: tuple[tuple[str, str], ...] = ()
    configure: Callable[[Screen], str] | None = None
    knows_geometry: Callable[[str], bool] | None = None

    def can_make(self, screen: Screen) -> bool:
        """Tell whether it can make a screen of exactly that size and depth."""
        return (
            screen.depth in self.depths
            and self.smallest[0] <= screen.width <= self.largest[0]
            and self.smallest[1] <= screen.height <= self.largest[1]
        )


def find(kind: ServerKind, environ: Mapping[str, str]) -> str | None:
    """Return the absolute path of the program of *kind*, or None if it is not installed."""
    if kind.modules and not any(map(os.path.exists, kind.modules)):
        return None
    # Beside the interpreter, too: a conda environment has its own Xvfb, whether it is activated or not.
    search = [*os.get_exec_path(environ), os.path.dirname(this_python())]
    found = (find_program(program, search) for program in kind.programs)
    return next((os.path.abspath(program) for program in found if program), None)
