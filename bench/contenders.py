"""The contenders, each used as its own documentation recommends, and the scenarios."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WORK = Path(__file__).parent / "work"

_CALL = "\n\nmain()\n"


@dataclass(frozen=True)
class Contender:
    """A way to run a Python program on a display of its own.

    :param needs: the command or the module that has to be installed.
    :param command: the words before the program, or empty for the interpreter alone.
    :param before: lines of the program before the work.
    :param after: lines after the work. The work is a function, main(), so that its objects are gone when it returns.
    :param cold: whether each run has a new cache folder.
    :param display: whether it provides a display.
    """

    name: str
    needs: str
    command: tuple[str, ...] = ()
    before: str = ""
    after: str = _CALL
    cold: bool = False
    display: bool = True

    @property
    def is_ours(self) -> bool:
        return self.needs.startswith("anaheadless")

    def program(self, work: str) -> str:
        """Return the text of the program that :attr:`command` runs."""
        return self.before + (WORK / f"{work}.py").read_text() + self.after

    def arguments(self, python: str, program: str) -> tuple[str, ...]:
        """Return the command line; anaheadless's own commands know their interpreter."""
        return (*self.command, *(() if self.is_ours else (python,)), program)


@dataclass(frozen=True)
class Mapper:
    """A way to run a Python program for many inputs.

    :param command: its words, with ``{python}``, ``{program}`` and ``{inputs}``, a file with an input on each line.
    """

    name: str
    needs: str
    command: tuple[str, ...]

    def arguments(self, python: str, program: str, inputs: str) -> tuple[str, ...]:
        """Return the command line."""
        return tuple(word.format(python=python, program=program, inputs=inputs) for word in self.command)


_XVFB_RUN = ("xvfb-run", "-a", "-s", "-screen 0 1280x1024x24")
_SOMA = "from soma.qt_gui import headless\n\nheadless.setup_headless(need_opengl={})\n"

PYTHON = Contender("python", "python", display=False)
XVFB_RUN = Contender("xvfb-run -a", "xvfb-run", _XVFB_RUN)
XVFB_RUN_COLD = Contender("xvfb-run -a, cold", "xvfb-run", _XVFB_RUN, cold=True)
PYVIRTUALDISPLAY = Contender(
    "PyVirtualDisplay",
    "pyvirtualdisplay",
    after="\n\nfrom pyvirtualdisplay import Display\n\n"
    "with Display(visible=False, size=(1280, 1024), color_depth=24):\n    main()\n",
)
XVFBWRAPPER = Contender(
    "xvfbwrapper",
    "xvfbwrapper",
    after="\n\nfrom xvfbwrapper import Xvfb\n\nwith Xvfb(width=1280, height=1024, colordepth=24):\n    main()\n",
)
SOMA = Contender("soma.qt_gui.headless", "soma", before=_SOMA.format(True))
SOMA_NO_GL = Contender("soma.qt_gui.headless, no OpenGL", "soma", before=_SOMA.format(False))
RUN = Contender("anaheadless run", "anaheadless", ("anaheadless", "run"))
RUN_COLD = Contender("anaheadless run, cold", "anaheadless", ("anaheadless", "run"), cold=True)
RUN_NO_GL = Contender("anaheadless run --gl none", "anaheadless", ("anaheadless", "run", "--gl", "none"))
ANAHEADLESS_PYTHON = Contender("anaheadless-python", "anaheadless-python", ("anaheadless-python",))
# With each kind of X server; the first is what the others are compared with.
ON_SERVERS = tuple(
    Contender(f"anaheadless run --server {kind}", "anaheadless", ("anaheadless", "run", "--server", kind))
    for kind in ("xvfb", "xwayland", "xvnc", "xorg")
)

_XARGS = ("xargs", "-a", "{inputs}", "-P", "2", "-I", "INPUT")
_MAP = ("anaheadless", "map", "--quiet", "-j", "2", "--inputs", "{inputs}", "--journal", "{inputs}.jsonl")
MAPPERS = (
    Mapper("xvfb-run -a", "xvfb-run", (*_XARGS, *_XVFB_RUN, "{python}", "{program}", "INPUT")),
    Mapper(
        "parallel xvfb-run -a",
        "parallel",
        ("parallel", "-q", "-j2", "-a", "{inputs}", *_XVFB_RUN, "{python}", "{program}"),
    ),
    Mapper("anaheadless run", "anaheadless", (*_XARGS, "anaheadless", "run", "{program}", "INPUT")),
    Mapper("anaheadless map --display own", "anaheadless", (*_MAP, "--display", "own", "{program}")),
    Mapper("anaheadless map", "anaheadless", (*_MAP, "{program}")),
    Mapper("anaheadless map --preload", "anaheadless", (*_MAP, "--preload", "map_imports", "{program}")),
    Mapper("anaheadless map --call", "anaheadless", (*_MAP, "--call", "{program}:draw")),
)

PEERS = (XVFB_RUN, PYVIRTUALDISPLAY, XVFBWRAPPER, SOMA)
REFERENCE, SERVER_REFERENCE = XVFB_RUN.name, ON_SERVERS[0].name


@dataclass(frozen=True)
class Scenario:
    """A task for all contenders.

    :param work: a module in work/.
    :param picture: whether the work has to make a picture; otherwise it only has to reach its display.
    :param launches: how many launches one round has, *at_a_time* of them together.
    :param rounds: the most rounds.
    :param compared: whether times are compared; if many launches fail, the others have more of the machine.
    :param limit: seconds for one launch.
    """

    name: str
    title: str
    work: str
    contenders: tuple[Contender, ...]
    picture: bool = False
    launches: int = 1
    at_a_time: int = 1
    rounds: int = 1000
    limit: float = 30.0
    compared: bool = True


_GL = (*PEERS, RUN)
HELD = (*_GL, RUN_NO_GL)
SCENARIOS = (
    Scenario(
        "first-line",
        "A program of one line",
        "first_line",
        (PYTHON, *PEERS, RUN_COLD, RUN, ANAHEADLESS_PYTHON, RUN_NO_GL),
    ),
    Scenario(
        "first-frame",
        "A picture drawn with OpenGL",
        "gl_scene",
        (XVFB_RUN_COLD, *PEERS, RUN_COLD, RUN, ANAHEADLESS_PYTHON),
        picture=True,
    ),
    Scenario(
        "plain-qt",
        "A picture drawn without OpenGL",
        "widget",
        (XVFB_RUN, PYVIRTUALDISPLAY, XVFBWRAPPER, SOMA_NO_GL, RUN_NO_GL),
        picture=True,
    ),
    Scenario("server-start", "A connection to each kind of X server", "connect", ON_SERVERS),
    Scenario(
        "server-first-frame",
        "A picture drawn with OpenGL on each kind of X server",
        "gl_scene",
        ON_SERVERS,
        picture=True,
    ),
    Scenario(
        "batch",
        "A batch of 20 pictures drawn with OpenGL, two at a time",
        "gl_scene",
        _GL,
        picture=True,
        launches=20,
        at_a_time=2,
        rounds=5,
    ),
    Scenario("at-once-60", "60 launches at once", "connect", HELD, launches=60, at_a_time=60, rounds=1, compared=False),
    Scenario(
        "at-once-200",
        "200 launches at once",
        "connect",
        tuple(contender for contender in HELD if contender is not SOMA),  # most of its 60 wait until the limit
        launches=200,
        at_a_time=200,
        rounds=1,
        limit=60,
        compared=False,
    ),
)


@dataclass(frozen=True)
class MapScenario:
    """A task for all mappers: a picture for each input; a single one is timed until it is there.

    :param heavy: seconds that the program's imports take beside Qt's.
    """

    name: str
    title: str
    inputs: int
    rounds: int
    heavy: float = 0.0
    limit: float = 300.0


MAP_SCENARIOS = (
    MapScenario("map-first", "The first of many pictures", 1, 21),
    MapScenario("map", "200 pictures drawn with OpenGL, two at a time, by xargs -P 2, GNU parallel or map", 200, 2),
    MapScenario("map-heavy", "20 such pictures, by a program that imports for a second", 20, 2, heavy=1.0),
)
