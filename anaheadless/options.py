"""What a run can be asked for."""

from __future__ import annotations

from collections.abc import Sequence

from anaheadless.display import Screen, parse_screen
from anaheadless.lean import Record
from anaheadless.opengl import BACKENDS, VGL_DISPLAY, Wishes
from anaheadless.session import Watch


class Options(Record):
    """All that can be asked for, whatever the target.

    :param wishes: where OpenGL is to come from, or None for no OpenGL.
    :param server_args: further arguments for the X server.
    :param start_timeout: seconds until the X server must be ready.
    :param probe_timeout: seconds that the proof of one candidate may take; all of them may take three times as long.
    :param shim: whether ``import anatomist.headless`` is ours in the target.
    :param fresh: whether to prove OpenGL even where an earlier run has.
    :param watch: the time limit, the log and the film.
    :param supervise: whether to stay in front of the target, as is always done in a container's first process.
    """

    screen: Screen = Screen()
    dpi: int | None = None
    wishes: Wishes | None = Wishes()
    server_args: tuple[str, ...] = ()
    start_timeout: float = 30.0
    probe_timeout: float = 10.0
    shim: bool = True
    fresh: bool = False
    watch: Watch = Watch()
    supervise: bool = False
    verbose: bool = False


def checked(
    *,
    screen: str = str(Screen()),
    dpi: int | None = None,
    gl: str = "auto",
    virtualgl: bool = True,
    vgl_display: str | None = None,
    vgl_dlfaker: bool = True,
    server_args: Sequence[str] = (),
    start_timeout: float = Options.start_timeout,
    probe_timeout: float = Options.probe_timeout,
    shim: bool = True,
) -> Options:
    """What Python code may ask for; the names are those of the command line's options.

    :raises ValueError: with a sentence that says what would do.
    """
    if not isinstance(screen, str):
        raise TypeError(f"screen is {screen!r}, but has to be text, as in '1280x1024x24'.")
    if isinstance(server_args, str) or not all(isinstance(arg, str) for arg in server_args):
        raise TypeError(f"server_args is {server_args!r}, but has to be a list of texts.")
    if dpi is not None and not (isinstance(dpi, int) and 1 <= dpi <= 1000):
        raise ValueError(f"dpi is {dpi!r}, but can be a whole number from 1 to 1000.")
    if gl not in BACKENDS:
        raise ValueError(f"gl is {gl!r}, but can be {', '.join(BACKENDS)}.")
    if gl == "virtualgl" and not virtualgl:
        raise ValueError("gl='virtualgl' and virtualgl=False contradict each other.")
    if vgl_display is not None and not VGL_DISPLAY.fullmatch(vgl_display):
        raise ValueError(f"vgl_display is {vgl_display!r}, but can be egl, eglN, /dev/dri/cardN or :N.")
    for seconds in start_timeout, probe_timeout:
        if not 0 < seconds <= 3600:
            raise ValueError(f"A time limit of {seconds} is not between 0 and 3600 seconds.")
    wishes = None
    if gl != "none":
        wishes = Wishes(gl, virtualgl, vgl_display=vgl_display, vgl_dlfaker=vgl_dlfaker)
    return Options(parse_screen(screen), dpi, wishes, tuple(server_args), start_timeout, probe_timeout, shim)
