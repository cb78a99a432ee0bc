"""What a run can be asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from anaheadless.system.light_stdlib import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What Xvfb makes a screen of; OpenGL finds no visual below 24 (server 21.1: depths 1, 4, 12 and 32 are refused).
DEPTHS = (8, 15, 16, 24, 30)
MAX_MEMORY = 2**31 - 2**16  # Xvfb counts the bytes of its screen, and some more, in an int
MAX_SIDE = 32767  # a coordinate is a signed 16-bit number in the X protocol


class Screen(Record):
    """A screen's width and height in pixels, and its depth in bits per pixel."""

    width: int = 1280
    height: int = 1024
    depth: int = 24

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.depth}"

    @property
    def memory(self) -> int:
        """What the X server needs for its pixels, in bytes."""
        pixel_bytes = 1 if self.depth == 8 else 2 if self.depth < 24 else 4
        return self.width * self.height * pixel_bytes


def parse_screen(text: str) -> Screen:
    """``WIDTHxHEIGHT[xDEPTH]`` as a :class:`Screen`; :raises ValueError: with a sentence that says what would do."""
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})(?:x(\d{1,9}))?", text, re.ASCII)
    if not match:
        raise ValueError(f"{text!r} is not WIDTHxHEIGHT or WIDTHxHEIGHTxDEPTH, as in 1280x1024x24.")
    width, height = int(match[1]), int(match[2])
    depth = int(match[3] or Screen.depth)
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise ValueError(f"{text!r}: width and height have to be 1 to {MAX_SIDE} pixels.")
    if depth not in DEPTHS:
        *some, last = map(str, DEPTHS)
        raise ValueError(f"{text!r}: the depth has to be {', '.join(some)} or {last} bits; 24 is the usual one.")
    screen = Screen(width, height, depth)
    if screen.memory >= MAX_MEMORY:
        size = f"{screen.memory / 2**30:.1f} GiB"
        raise ValueError(f"{text!r}: this screen would take {size} of memory, and Xvfb can't use more than 2 GiB.")
    return screen


BACKENDS = ("auto", "virtualgl", "nvidia", "native", "mesa", "none")

# What VirtualGL can render on: an EGL device, a DRI device, or a 3D X server.
VGL_DISPLAY = re.compile(r"egl\d*|/dev/dri/card\d+|(unix|localhost)?:\d+(\.\d+)?", re.ASCII)


class OpenGLRequest(Record):
    """What the caller asked for.

    :param backend: one of BACKENDS but ``none``.
    :param force_virtualgl: take VirtualGL even where it renders in software.
    :param preload: whether libraries may be put in front of the program's own.
    :param vgl_display: what VirtualGL is to render on, or None for the user's VGL_DISPLAY or what there is.
    """

    backend: str = "auto"
    virtualgl: bool = True
    force_virtualgl: bool = False
    preload: bool = True
    vgl_display: str | None = None
    vgl_dlfaker: bool = True


class RunLimits(Record):
    """What the keeper does beside keeping.

    :param timeout: seconds that the target may run, or 0 for no limit.
    :param grace: seconds that it then has between SIGTERM and SIGKILL.
    :param picture: an absolute path: where to save the screen when the time is up, or empty.
    :param log: a path: the file that its log is appended to, or empty.
    :param film: an absolute path: where to film the screen, or empty.
    """

    timeout: float = 0.0
    grace: float = 10.0
    picture: str = ""
    log: str = ""
    film: str = ""


class Options(Record):
    """All that can be asked for, whatever the target.

    :param opengl: where OpenGL is to come from, or None for no OpenGL.
    :param server_args: further arguments for the X server.
    :param start_timeout: seconds until the X server must be ready.
    :param probe_timeout: seconds that the proof of one candidate may take; all of them may take three times as long.
    :param shim: whether ``import anatomist.headless`` is ours in the target.
    :param fresh: whether to prove OpenGL even where an earlier run has.
    :param limits: the time limit, the log and the film.
    :param supervise: whether to stay in front of the target, as is always done in a container's first process.
    """

    screen: Screen = Screen()
    dpi: int | None = None
    opengl: OpenGLRequest | None = OpenGLRequest()
    server_args: tuple[str, ...] = ()
    start_timeout: float = 30.0
    probe_timeout: float = 10.0
    shim: bool = True
    fresh: bool = False
    limits: RunLimits = RunLimits()
    supervise: bool = False
    verbose: bool = False


def parse_duration(text: str) -> float:
    """Seconds, of a time as coreutils' timeout takes it: 90, 90s, 1.5m, 2h, 1d.

    :raises ValueError: with a sentence that says what would do.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})([smhd]?)", text, re.ASCII)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if not 0 < seconds <= 366 * 86400:
        raise ValueError(f"{text!r} is not a duration such as 90, 90s, 1.5m, 2h or 1d (at most 366d).")
    return seconds


def parse_plain(words: Sequence[str]) -> tuple[Options, Sequence[str]]:
    """What the most common of the command line's options ask for, and the words from the first other one on.

    That is all for which click, which takes longer to import than all the rest of a launch, need not be asked; it would
    find the same. An option that is wrong is left to it.
    """
    options, rest = Options(), list(words)
    while rest:
        name, equals, value = rest[0].partition("=")
        try:
            if name in _FLAGS and not equals:
                options = options.replace(**_FLAGS[name])
                del rest[0]
            else:
                options = options.replace(**_asked(name, value if equals else rest[1]))
                del rest[: 1 if equals else 2]
        except (ValueError, IndexError):
            break
    return options, rest


_FLAGS: dict[str, dict[str, Any]] = {
    "--fresh": {"fresh": True},
    "--no-shim": {"shim": False},
    "--supervise": {"supervise": True},
    "--verbose": {"verbose": True},
    "-v": {"verbose": True},
}


def _asked(name: str, value: str) -> dict[str, Any]:
    if name == "--gl" and value in BACKENDS:
        return {"opengl": None if value == "none" else OpenGLRequest(value)}
    if name == "--screen":
        return {"screen": parse_screen(value)}
    if name == "--timeout":
        return {"limits": RunLimits(parse_duration(value))}
    raise ValueError


def suggestion(word: str, known: Iterable[str]) -> str:
    """A sentence about what was meant by *word*, or nothing."""
    import difflib  # only here: mistakes may take their time

    return "".join(f"Did you mean {close}? " for close in difflib.get_close_matches(word, known, 1))


def checked_call(caller: str, given: Mapping[str, Any]) -> Options:
    """What Python code asks for, see :func:`checked`.

    :param caller: the function that was *given* these.
    :raises TypeError: there is no such option, or its value is of another type.
    :raises ValueError: with a sentence that says what would do.
    """
    known = tuple(checked.__kwdefaults__ or ())
    for name in given:
        if name not in known:
            raise TypeError(
                f"{caller}() has no option {name!r}. {suggestion(name, known)}There are: {', '.join(known)}."
            )
    return checked(**given)


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
        raise TypeError(f"screen is {screen!r}, but has to be a string such as '1280x1024x24'.")
    if isinstance(server_args, str) or not all(isinstance(arg, str) for arg in server_args):
        raise TypeError(f"server_args is {server_args!r}, but has to be a list of strings.")
    if dpi is not None and not (isinstance(dpi, int) and 1 <= dpi <= 1000):
        raise ValueError(f"dpi is {dpi!r}, but has to be a whole number from 1 to 1000.")
    if gl not in BACKENDS:
        raise ValueError(f"gl is {gl!r}, but has to be one of {', '.join(BACKENDS)}.")
    if gl == "virtualgl" and not virtualgl:
        raise ValueError("gl='virtualgl' and virtualgl=False contradict each other.")
    if vgl_display is not None and not VGL_DISPLAY.fullmatch(vgl_display):
        raise ValueError(f"vgl_display is {vgl_display!r}, but has to be egl, eglN, /dev/dri/cardN or :N.")
    for seconds in start_timeout, probe_timeout:
        if not 0 < seconds <= 3600:
            raise ValueError(f"A time limit has to be more than 0 and at most 3600 seconds, not {seconds}.")
    request = None
    if gl != "none":
        request = OpenGLRequest(gl, virtualgl, vgl_display=vgl_display, vgl_dlfaker=vgl_dlfaker)
    return Options(parse_screen(screen), dpi, request, tuple(server_args), start_timeout, probe_timeout, shim)
