"""Which kind of X server is taken: a pure function of what is installed and what is asked for."""

from __future__ import annotations

from collections.abc import Collection

from anaheadless.options import Screen
from anaheadless.system.light_stdlib import Record
from anaheadless.x11.servers import xorg, xvfb, xvnc, xwayland
from anaheadless.x11.servers.kind import ServerKind

# In the order of preference. For screens of other depths than 24, Xorg comes before Xvnc: it knows more of them.
KINDS = (xvfb.KIND, xwayland.KIND, xvnc.KIND, xorg.KIND)
_KINDS_FOR_OTHER_DEPTHS = (xvfb.KIND, xorg.KIND, xvnc.KIND)
_USUAL_DEPTH = 24


class ServerRequest(Record):
    """What is asked for.

    :param kind: the name of a kind, or ``auto``.
    :param opengl: whether there is to be OpenGL.
    :param render_node: the render node of a GPU that can draw on Xwayland's screen, or empty.
    :param virtualgl: whether VirtualGL can be used: it brings a GPU to any server.
    """

    screen: Screen = Screen()
    kind: str = "auto"
    opengl: bool = True
    render_node: str = ""
    virtualgl: bool = False


class NoServerError(Exception):
    """There is no server for the request; the text says why.

    :param programs: the programs of the kinds that would do. It does to install one of them.
    """

    def __init__(self, message: str, programs: tuple[str, ...]) -> None:
        super().__init__(message)
        self.programs = programs


def choose_server(installed: Collection[str], request: ServerRequest) -> tuple[ServerKind, str]:
    """Choose the kind of X server.

    :param installed: the names of the installed kinds.
    :return: the kind, and in a few words why it is taken.
    :raises NoServerError: no installed kind can do what is asked for.
    """
    screen = request.screen
    order = KINDS if screen.depth == _USUAL_DEPTH else _KINDS_FOR_OTHER_DEPTHS
    able = [kind for kind in order if kind.can_make(screen)]
    if request.kind != "auto":
        wanted = next(kind for kind in KINDS if kind.name == request.kind)
        if wanted not in able:
            others = " or ".join(kind.name for kind in able) or "no kind of X server"
            raise NoServerError(f"{wanted.name} can't make a screen of {screen}; {others} can", ())
        if wanted.name not in installed:
            raise NoServerError(f"{_program(wanted)} is not installed", (_program(wanted),))
        return wanted, "asked for"
    found = [kind for kind in able if kind.name in installed]
    if not found:
        programs = tuple(_program(kind) for kind in able)
        present = ", ".join(kind.name for kind in KINDS if kind.name in installed)
        if present:
            raise NoServerError(f"no installed X server ({present}) can make a screen of {screen}", programs)
        raise NoServerError("no X server is installed", programs)
    if request.opengl and request.render_node and not request.virtualgl and xwayland.KIND in found:
        return xwayland.KIND, f"{request.render_node} may draw on it"
    chosen = found[0]
    reasons = [
        f"{kind.name} can't make a screen of {screen}" if kind.name in installed else f"{kind.name} is not installed"
        for kind in order[: order.index(chosen)]
    ]
    return chosen, "; ".join(reasons) or "the usual one"


def _program(kind: ServerKind) -> str:
    return kind.programs[-1].rpartition("/")[2]
