"""Everything that a run can be asked for, once: the types, and the table of options.

From :data:`TABLE` come the options of the command line and their help, the fast path without click, the variables, the
keys of configuration files, the keywords of the Python functions, and the reference page.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from anaheadless.system.light_stdlib import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class InProcessKeywords(TypedDict, total=False):
        """The options of ``setup_headless()``, for editors and type checkers; a test compares them with the table."""

        screen: str
        dpi: int | None
        server: str
        wm: str
        server_args: Sequence[str]
        start_timeout: float
        gl: str
        gpu: str
        virtualgl: bool
        vgl_display: str | None
        vgl_dlfaker: bool
        probe_timeout: float
        require: Sequence[str]

    class Keywords(InProcessKeywords, total=False):
        """The options of the other Python functions."""

        shim: bool


# What Xvfb makes a screen of; OpenGL finds no visual below 24 (server 21.1: depths 1, 4, 12 and 32 are refused).
DEPTHS = (8, 15, 16, 24, 30)
MAX_MEMORY = 2**31 - 2**16  # Xvfb counts the bytes of its screen, and some more, in an int
MAX_DISPLAY_NUMBER = 59535  # its TCP port is this number plus 6000
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


# Where OpenGL can come from.
CANDIDATES = ("virtualgl", "nvidia", "native", "mesa")
# What can be asked for, and which candidates are tried then, in this order.
TRIED = {
    "auto": CANDIDATES,
    "hardware": ("virtualgl", "nvidia", "native"),
    "software": ("native", "mesa"),
    **{name: (name,) for name in CANDIDATES},
    "none": (),
}
BACKENDS = tuple(TRIED)

# What a session tells its programs; all other variables that begin with ANAHEADLESS_ stand for options.
SESSION, RENDERER, HARDWARE = "ANAHEADLESS_SESSION", "ANAHEADLESS_GL_RENDERER", "ANAHEADLESS_GL_HARDWARE"
SESSION_VARIABLES = (SESSION, RENDERER, HARDWARE)

# What VirtualGL can render on: an EGL device, a DRI device, or a 3D X server.
VGL_DISPLAY = re.compile(r"egl\d*|/dev/dri/card\d+|(unix|localhost)?:\d+(\.\d+)?", re.ASCII)


# A GPU: by its number in doctor's list, its PCI address, or NVIDIA's name for it.
GPU_NAME = r"auto|none|\d{1,3}|([0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|GPU-[0-9a-f-]{1,64}"


# What a program may draw with, and what it is called.
INTERFACES = {"glx": "GLX", "egl": "EGL", "vulkan": "Vulkan"}


# The kinds of X servers, see anaheadless/x11/servers/; auto is the best one that is installed.
SERVERS = ("auto", "xvfb", "xwayland", "xvnc", "xorg")


class OpenGLRequest(Record):
    """The OpenGL that the caller asked for.

    :param backend: one of BACKENDS but ``none``; only ``hardware`` and ``software`` exclude the other of the two.
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
    """The time limit of a run, and what is kept of it.

    :param timeout: seconds that the target may run, or 0 for no limit.
    :param grace: seconds that it then has between SIGTERM and SIGKILL.
    :param screenshot: an absolute path: where to save the screen when the time is up, or empty.
    :param log: a path: the file that the log is appended to, or empty.
    :param recording: an absolute path: where to record the screen, or empty.
    :param force: whether a film that is there may be overwritten.
    """

    timeout: float = 0.0
    grace: float = 10.0
    screenshot: str = ""
    log: str = ""
    recording: str = ""
    force: bool = False


class Options(Record):
    """The options of a run, whatever the target.

    :param opengl: where OpenGL is to come from, or None for no OpenGL.
    :param gpu: ``auto``, ``none``, or the name of the GPU that is to be used.
    :param server: the kind of X server, one of SERVERS.
    :param display_number: the number of the display, or None for any that is free.
    :param wm: the window manager: ``none``, ``focus`` for the built-in one, ``auto`` or a program.
    :param server_args: further arguments for the X server.
    :param start_timeout: seconds until the X server must be ready.
    :param probe_timeout: seconds that the probe of one candidate may take; all of them may take three times as long.
    :param require: which of INTERFACES must have drawn.
    :param shim: whether ``import anatomist.headless`` is ours in the target.
    :param fresh: whether to probe OpenGL even where the cache has a result.
    :param limits: the time limit, the log and the recording.
    :param supervise: whether to stay in front of the target, as is always done in a container's first process.
    :param needs_opengl: whether the target is not started if there is no OpenGL that draws.
    :param auth_file: an X authority file to put the cookie into, too, or empty.
    """

    screen: Screen = Screen()
    dpi: int | None = None
    server: str = "auto"
    display_number: int | None = None
    wm: str = "none"
    opengl: OpenGLRequest | None = OpenGLRequest()
    gpu: str = "auto"
    server_args: tuple[str, ...] = ()
    start_timeout: float = 30.0
    probe_timeout: float = 10.0
    require: tuple[str, ...] = ()
    shim: bool = True
    fresh: bool = False
    limits: RunLimits = RunLimits()
    supervise: bool = False
    quiet: bool = False
    verbose: bool = False
    needs_opengl: bool = True
    auth_file: str = ""


# --- how values are written


def parse_duration(text: str) -> float:
    """Return the seconds of a time as coreutils' timeout takes it: 90, 90s, 1.5m, 2h, 1d.

    :raises ValueError: with a sentence that says what would do.
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})([smhd]?)", text, re.ASCII)
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if not 0 < seconds <= 366 * 86400:
        raise ValueError(f"{text!r} is not a duration such as 90, 90s, 1.5m, 2h or 1d (at most 366d).")
    return seconds


def _parse_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ValueError(f"{text!r} is not a number of seconds: more than 0, and at most 3600.")
    return seconds


def _parse_dpi(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text, re.ASCII) or not 1 <= int(text) <= 1000:
        raise ValueError(f"{text!r} is not a whole number from 1 to 1000.")
    return int(text)


def _parse_display_number(text: str) -> int:
    if not re.fullmatch(r":?\d{1,5}", text, re.ASCII) or int(text.lstrip(":")) > MAX_DISPLAY_NUMBER:
        raise ValueError(f"{text!r} is not a number from 0 to {MAX_DISPLAY_NUMBER}.")
    return int(text.lstrip(":"))


def _parse_gl(text: str) -> str:
    return _parse_choice(text, BACKENDS)


def _parse_server(text: str) -> str:
    return _parse_choice(text, SERVERS)


def _parse_wm(text: str) -> str:
    if not text or text.startswith("-"):
        raise ValueError(f"{text!r} is not 'none', 'focus', 'auto' or a program.")
    return text


def _parse_choice(text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is not one of {', '.join(map(repr, choices))}.")
    return text


def _parse_vgl_display(text: str) -> str:
    if not VGL_DISPLAY.fullmatch(text):
        raise ValueError(f"{text!r} is not egl, eglN, /dev/dri/cardN or :N.")
    return text


def _parse_gpu(text: str) -> str:
    if not re.fullmatch(GPU_NAME, text, re.ASCII | re.IGNORECASE):
        raise ValueError(f"{text!r} is not auto, none, a number, a PCI address (0000:01:00.0) or a UUID (GPU-...).")
    return text


class Kind(Record):
    """The way in which an option's value is written.

    :param metavar: what stands for the value in the help; empty for a flag.
    :param parse: makes the value of its text, or raises ValueError with a sentence that says what would do.
    :param types: what Python code may give; None as well, where that is the default.
    :param noun: these types in words.
    :param choices: all possible values, where they can be listed.
    """

    metavar: str
    parse: Callable[[str], Any]
    types: tuple[type, ...] = (str,)
    noun: str = "a string"
    choices: tuple[str, ...] = ()


FLAG = Kind("", str, (bool,), "true or false")
LIST = Kind("ARG", str, (list, tuple), "a list of strings")  # may be repeated
FILE = Kind("FILE", str)  # one that can be written
PROGRAM = Kind("PATH", str)
SCREEN = Kind("WIDTHxHEIGHT[xDEPTH]", parse_screen)
DPI = Kind("N", _parse_dpi, (int,), "a whole number")
DISPLAY_NUMBER = Kind("N", _parse_display_number, (int,), "a whole number")
DURATION = Kind("DURATION", parse_duration, (int, float), "a number of seconds")
SECONDS = Kind("SECONDS", _parse_seconds, (int, float), "a number of seconds")
GL = Kind("|".join(BACKENDS), _parse_gl, choices=BACKENDS)
WM = Kind("none|focus|auto|PROGRAM", _parse_wm)
SERVER = Kind("|".join(SERVERS), _parse_server, choices=SERVERS)
GPU = Kind("auto|none|N|PCI|UUID", _parse_gpu)
VGL = Kind("egl|eglN|/dev/dri/cardN|:N", _parse_vgl_display)

# --- what can be asked for

_LAUNCHES = ("run", "exec", "python")
_ALL = (*_LAUNCHES, "map", "start", "doctor")
DISPLAY, OPENGL, LIMITS, ADVANCED = "Display", "OpenGL", "Limits and recording", "Advanced"


class Option(Record):
    """A row of the table.

    :param name: as on the command line without its dashes, which is also the key in files.
    :param default: of the value; a flag sets the opposite.
    :param python_name: the keyword of the Python functions, where that is not *name* with underscores.
    :param shown_default: the default in words, where it has to be explained.
    :param commands: those that have it; ``python`` is ``anaheadless-python``.
    :param in_python: whether the Python functions have it.
    :param plain: whether its value is all that has to be checked, so that the fast path can.
    """

    name: str
    kind: Kind
    default: Any
    group: str
    help: str
    commands: tuple[str, ...] = _ALL
    in_python: bool = False
    python_name: str = ""
    metavar: str = ""
    shown_default: str = ""
    short: str = ""
    plain: bool = True

    @property
    def field(self) -> str:
        """The key for :func:`build`, and the keyword of the Python functions."""
        return self.python_name or self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that stands for the option."""
        return "ANAHEADLESS_" + self.name.upper().replace("-", "_")

    @property
    def default_in_words(self) -> str:
        """The default, as people read it; empty for a flag, and where there is none."""
        if self.shown_default or self.kind in (FLAG, LIST) or self.default is None:
            return self.shown_default
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    def _as_plain(self, value: Any) -> Any:
        """Return a value of Python's own types, as numpy's numbers are not; :raises TypeError: it can't be one."""
        if self.kind is FLAG:
            if value not in (True, False):
                raise TypeError
            return bool(value)
        if self.kind is LIST:
            words = tuple(value)
            if isinstance(value, (str, bytes)) or not all(isinstance(word, str) for word in words):
                raise TypeError
            return words
        if isinstance(value, (str, bool)):
            if isinstance(value, bool) or str not in self.kind.types:
                raise TypeError
            return value
        if str in self.kind.types:
            raise TypeError
        if float in self.kind.types:
            return value if isinstance(value, (int, float)) else float(value)
        return operator.index(value)

    def check(self, value: Any) -> Any:
        """Return the value that Python code gives, parsed.

        :raises TypeError: it is of another type.
        :raises ValueError: it makes no sense.
        """
        if value is None and self.default is None:
            return None
        try:
            plain = self._as_plain(value)
        except (TypeError, ValueError):
            raise TypeError(f"{self.field} has to be {self.kind.noun}, not {value!r}.") from None
        if self.kind in (FLAG, LIST):
            return plain
        try:
            return self.kind.parse(plain if isinstance(plain, str) else str(plain))
        except ValueError as error:
            raise ValueError(f"{self.field}: {error}") from error


# fmt: off
TABLE = (
    Option(
        "screen", SCREEN, Screen(), DISPLAY, "Size in pixels, and depth in bits, of the virtual screen.", in_python=True
    ),
    Option("dpi", DPI, None, DISPLAY, "Dots per inch of the screen.", in_python=True),
    Option(
        "server", SERVER, "auto", DISPLAY,
        "The kind of X server. auto: Xvfb if it is installed, else one of the others.", in_python=True,
    ),
    Option(
        "display-number", DISPLAY_NUMBER, None, DISPLAY, "The number of the display, if nobody has it.",
        (*_LAUNCHES, "start"), shown_default="a free one from 2000 to 9999",
    ),
    Option(
        "wm", WM, "none", DISPLAY,
        "The window manager. focus: a built-in one; auto: an installed one, else focus.", in_python=True,
    ),
    Option(
        "server-arg", LIST, (), DISPLAY,
        "A further argument for the X server; repeatable: --server-arg=-maxclients --server-arg=512",
        in_python=True, python_name="server_args", plain=False,
    ),
    Option(
        "start-timeout", SECONDS, Options.start_timeout, DISPLAY, "Time for the X server to become ready.",
        in_python=True,
    ),
    Option(
        "gl", GL, "auto", OPENGL,
        "Where OpenGL comes from. auto: the best that draws; hardware: only a GPU; software: never a GPU; none: no "
        "OpenGL, which takes a fifth of the memory.",
        in_python=True,
    ),
    Option(
        "gpu", GPU, "auto", OPENGL,
        "The GPU to use: by its number in doctor's list, its PCI address, or its UUID. auto: the one that the job was "
        "given; none: no GPU.",
        in_python=True,
    ),
    Option("no-virtualgl", FLAG, True, OPENGL, "Do not use VirtualGL.", in_python=True, python_name="virtualgl"),
    Option(
        "vgl-display", VGL, None, OPENGL, "What VirtualGL renders on.", in_python=True,
        shown_default="VGL_DISPLAY, else the first GPU, else the caller's DISPLAY",
    ),
    Option(
        "vgl-no-dlfaker", FLAG, True, OPENGL, "Use VirtualGL without its dlopen() interposer, as vglrun -nodl does.",
        in_python=True, python_name="vgl_dlfaker",
    ),
    Option(
        "probe-timeout", SECONDS, Options.probe_timeout, OPENGL,
        "Time for the test of one OpenGL candidate; all of them together get three times as long.",
        in_python=True,
    ),
    Option(
        "require", LIST, (), OPENGL,
        "Start your program only if this has drawn, too; repeatable. With --gl hardware, it must be on a GPU.",
        in_python=True, metavar="|".join(INTERFACES), plain=False,
    ),
    Option("fresh", FLAG, False, OPENGL, "Test OpenGL again, even if it was tested within the last hour."),
    Option(
        "timeout", DURATION, None, LIMITS, "End your program after this time: 90, 90s, 1.5m, 2h.",
        (*_LAUNCHES, "map"),
    ),
    Option(
        "grace", DURATION, RunLimits.grace, LIMITS, "Time for it to end after SIGTERM; then comes SIGKILL.",
        (*_LAUNCHES, "map"), shown_default="10s", plain=False,
    ),
    Option(
        "screenshot-on-timeout", FILE, None, LIMITS, "Save the screen when the time is up.", _LAUNCHES,
        metavar="FILE.png", plain=False,
    ),
    Option(
        "log", FILE, None, LIMITS,
        "Append the session's events and the X server's messages to this file; to FILE.jsonl, as lines of JSON.",
        (*_LAUNCHES, "map", "start"), plain=False,
    ),
    Option(
        "record", FILE, None, LIMITS, "Record the screen with ffmpeg until your program has ended.", _LAUNCHES,
        metavar="FILE.mp4", plain=False,
    ),
    Option("force", FLAG, False, LIMITS, "Overwrite the file of --record, if there is one.", _LAUNCHES),
    Option(
        "python", PROGRAM, None, ADVANCED, "The interpreter to use.", ("run", "python", "map", "start", "doctor"),
        shown_default="that of the active virtual environment, else the one that anaheadless is installed in",
        plain=False,
    ),
    Option(
        "uv", FLAG, False, ADVANCED,
        "Let uv make the environment that the script asks for in its metadata (PEP 723), and run it there.", ("run",),
        plain=False,
    ),
    Option(
        "no-shim", FLAG, True, ADVANCED,
        "Do not replace anatomist.headless: Python programs import the installed one.",
        in_python=True, python_name="shim",
    ),
    Option(
        "supervise", FLAG, False, ADVANCED,
        "Stay in front of your program, and return when nothing is left of the session. Always on for PID 1 "
        "of a container.",
        _LAUNCHES,
    ),
    Option("quiet", FLAG, False, ADVANCED, "Print no notes on stderr, only what is wrong.", _LAUNCHES, short="q"),
    Option("verbose", FLAG, False, ADVANCED, "Report each step on stderr.", short="v"),
)
# fmt: on


IN_PYTHON = tuple(option for option in TABLE if option.in_python)
# What a process that is running already can be given.
IN_PROCESS = tuple(option for option in IN_PYTHON if option.name != "no-shim")


def options_of(command: str) -> tuple[Option, ...]:
    """Return the options that a command has."""
    return tuple(option for option in TABLE if command in option.commands)


def build(values: Mapping[str, Any]) -> Options:
    """Make :class:`Options` of the values of some fields; the others have their defaults.

    :raises ValueError: two of them contradict each other.
    """
    given = {option.field: option.default for option in TABLE}
    given.update(values)
    if given["gl"] == "virtualgl" and not given["virtualgl"]:
        raise ValueError(
            "--gl virtualgl and --no-virtualgl (in Python: gl='virtualgl' and virtualgl=False) contradict each other."
        )
    if given["gpu"] == "none" and given["gl"] in ("hardware", "virtualgl", "nvidia"):
        raise ValueError(f"--gpu none and --gl {given['gl']} contradict each other (in Python: gpu and gl).")
    for name in given["require"]:
        if name not in INTERFACES:
            raise ValueError(f"require: {name!r} is not one of {', '.join(map(repr, INTERFACES))}.")
    if given["gl"] == "none" and "glx" in given["require"]:
        raise ValueError("--gl none and --require glx contradict each other (in Python: gl and require).")
    opengl = None
    if given["gl"] != "none":
        opengl = OpenGLRequest(
            "software" if given["gpu"] == "none" and given["gl"] == "auto" else given["gl"],
            given["virtualgl"],
            vgl_display=given["vgl_display"],
            vgl_dlfaker=given["vgl_dlfaker"],
        )
    timeout, screenshot = given["timeout"] or 0.0, given["screenshot_on_timeout"] or ""
    limits = RunLimits(timeout, given["grace"], screenshot, given["log"] or "", given["record"] or "", given["force"])
    names = ("screen", "dpi", "server", "display_number", "wm", "gpu", "server_args", "require")
    same = (*names, "start_timeout", "probe_timeout")
    flags = ("shim", "fresh", "supervise", "quiet", "verbose")
    others = {name: given[name] for name in same + flags}
    return Options(opengl=opengl, limits=limits, **others)


# --- who asks


def parse_plain(words: Sequence[str], rows: Iterable[Option]) -> tuple[dict[str, Any], list[str]]:
    """Return what the leading options among *words* ask for, and the words from the first one on that needs click.

    click takes longer to import than all the rest of a launch; it would find the same. An option that is wrong is left
    to it.
    """
    known = {f"--{option.name}": option for option in rows if option.plain}
    known.update({f"-{option.short}": option for option in known.values() if option.short})
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        name, equals, value = rest[0].partition("=")
        option = known.get(name)
        try:
            if option is None:
                break
            if option.kind is FLAG:
                if equals:
                    break
                values[option.field] = not option.default
                del rest[0]
            else:
                found = option.kind.parse(value if equals else rest[1])
                values[option.field] = (*values.get(option.field, ()), found) if option.kind is LIST else found
                del rest[: 1 if equals else 2]
        except (ValueError, IndexError):
            break
    return values, rest


def from_keywords(caller: str, given: Mapping[str, Any], rows: Sequence[Option] = IN_PYTHON) -> Options:
    """Make :class:`Options` of the keywords that Python code gives.

    :param caller: the function that was *given* these.
    :param rows: the options that it has.
    :raises TypeError: there is no such option, or its value is of another type.
    :raises ValueError: with a sentence that says what would do.
    """
    known = {option.field: option for option in rows}
    for name in given:
        if name not in known:
            raise TypeError(
                f"{caller}() has no option {name!r}. {suggestion(name, known)}There are: {', '.join(known)}."
            )
    return build({name: known[name].check(value) for name, value in given.items()})


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return a sentence about what was meant by *word*, or nothing."""
    import difflib  # only here: mistakes may take their time

    return "".join(f"Did you mean {close}? " for close in difflib.get_close_matches(word, known, 1))
