"""What a program can ask of its display, of OpenGL and of Qt: the functions of soma.qt_gui.headless."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from anaheadless.system import processes
from tests.support.drivers import lacking_vendor
from tests.support.helpers import PATIENCE, run, wait_until, write_program
from tests.support.plain import COLOURS, answer, bare, code_of, python, regular_display
from tests.support.virtualgl import VGLRUN, needs_virtualgl
from tests.support.x_servers import nobody, x_server

LOADS = "import ctypes; ctypes.CDLL('libGL.so.1')"


@pytest.fixture(scope="module")
def regular() -> Iterator[dict[str, str]]:
    with regular_display() as environ:
        yield environ


@pytest.fixture(scope="module")
def without_glx() -> Iterator[dict[str, str]]:
    with regular_display(gl="none") as environ:
        yield environ


# --- test_glx, by a picture of its own


@pytest.mark.parametrize(("drivers", "grade"), [(True, 2), (False, 1)], ids=["OpenGL", "no drivers"])
def test_glx_is_graded_by_what_can_be_drawn(drivers: bool, grade: int, regular: dict[str, str], tmp_path: Path) -> None:
    environ = regular if drivers else {**regular, **lacking_vendor(tmp_path)}
    said = answer("say(glx=anaheadless.test_glx(), loaded=libraries('libGL', 'libX11'))", env=environ)
    assert said == {"glx": grade, "loaded": []}


def test_a_display_without_glx_has_grade_0(without_glx: dict[str, str]) -> None:
    assert answer("say(glx=anaheadless.test_glx())", env=without_glx) == {"glx": 0}


@pytest.mark.parametrize("display", ["unset", "nowhere", "empty"])
def test_no_display_has_grade_0(display: str) -> None:
    environ = bare(**{"unset": {}, "nowhere": {"DISPLAY": nobody()}, "empty": {"DISPLAY": ""}}[display])
    code = "say(glx=[anaheadless.test_glx(timeout=seconds) for seconds in (0, 0.2)])"
    assert answer(code, env=environ) == {"glx": [0, 0]}


def test_a_display_that_does_not_answer_has_grade_0() -> None:
    with x_server() as frozen:
        frozen.process.suspend()
        wait_until(lambda: frozen.process.status() == psutil.STATUS_STOPPED, "the server stands still")
        start = time.monotonic()
        assert answer("say(glx=anaheadless.test_glx(timeout=0.5))", env=bare(DISPLAY=frozen.display)) == {"glx": 0}
        assert time.monotonic() - start < 20


@pytest.mark.parametrize(("options", "grade"), [((), 2), (("--gl", "none"), 0)], ids=["OpenGL", "none"])
def test_glx_is_known_in_a_session(options: tuple[str, ...], grade: int) -> None:
    """Nothing is drawn again; but a command is asked."""
    code = """
    os.environ['PATH'] = os.environ['LIBGL_DRIVERS_PATH'] = '/nonexistent'
    say(glx=anaheadless.test_glx(), by_command=anaheadless.test_glx(glxinfo_cmd='/bin/true', timeout=0))
    """
    output = run("run", *options, "-c", code_of(code), env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    assert json.loads(output.stdout) == {"glx": grade, "by_command": 0}


# --- test_glx, by commands

GLXINFO = ["echo 'name of display: :1'", "echo '  GLX Visuals  '", "echo '4 GLXFBConfigs:'"]
XDPYINFO = ["echo 'number of extensions:    2'", "echo '    GLX'", "echo '    RANDR'"]
NOTHING = ["echo 'name of display: :1'"]
UNABLE = ["echo 'Error: unable to open display :1' >&2", "exit 1"]
COMMANDS: dict[str, tuple[list[str] | None, list[str] | None, int]] = {
    "glxinfo": (GLXINFO, None, 2),
    "xdpyinfo": (None, XDPYINFO, 1),
    "both": (GLXINFO, XDPYINFO, 2),
    "glxinfo lists nothing": (NOTHING, XDPYINFO, 1),
    "glxinfo fails": (["echo 'Error: no GLX' >&2", "exit 1"], XDPYINFO, 1),
    "glxinfo crashes": (["kill -SEGV $$"], XDPYINFO, 1),
    "neither lists anything": (NOTHING, NOTHING, 0),
    "glxinfo alone lists nothing": (NOTHING, None, 0),
    "xdpyinfo lists nothing": (None, NOTHING, 0),
    "xdpyinfo says it on stderr only": (None, ["echo GLX >&2"], 0),
    "no display": (UNABLE, UNABLE, 0),
}


def command(tmp_path: Path, name: str, lines: list[str]) -> str:
    """A stand-in that counts how often it was started."""
    write_program(tmp_path / "bin" / name, f"echo $$ >>'{tmp_path}/{name}.pids'", *lines)
    return str(tmp_path / "bin" / name)


def started(tmp_path: Path, name: str) -> list[int]:
    return list(map(int, (tmp_path / f"{name}.pids").read_text().split()))


@pytest.mark.parametrize(("glxinfo", "xdpyinfo", "grade"), COMMANDS.values(), ids=COMMANDS)
def test_commands_of_the_caller_are_asked(
    glxinfo: list[str] | None, xdpyinfo: list[str] | None, grade: int, tmp_path: Path
) -> None:
    """A string is a program, whatever is in it; a list has arguments."""
    strings, lists = {}, {}
    for name, lines in ("glxinfo", glxinfo), ("xdpyinfo", xdpyinfo):
        if lines is not None:
            strings[f"{name}_cmd"] = command(tmp_path, f"my {name}", ['test "$*" = "" || exit 9', *lines])
            path = command(tmp_path, name, ['test "$1,$2" = "-some,a b" || exit 9', *lines])
            lists[f"{name}_cmd"] = [path, "-some", "a b"]
    said = answer(f"say(glx=[anaheadless.test_glx(timeout=0, **commands) for commands in ({strings}, {lists})])")
    assert said == {"glx": [grade, grade]}


def test_arguments_by_position_are_in_the_order_of_soma(tmp_path: Path) -> None:
    """In the orders of soma-base up to 6.0.15, and since 6.0.17."""
    lists, has = command(tmp_path, "glxinfo", GLXINFO), command(tmp_path, "xdpyinfo", XDPYINFO)
    calls = {
        f"{lists!r}": 2,
        f"{lists!r}, {has!r}, 0": 2,
        f"None, {has!r}, 0.0": 1,
        f"[{has!r}], [{has!r}], 0": 1,
        f"True, {lists!r}, {has!r}, 0": 2,
        f"True, None, [{has!r}], 0": 1,
        f"True, {has!r}, 0, 0": 0,
        f"False, {lists!r}": None,
        f"False, glxinfo_cmd={lists!r}": None,
        f"{has!r}, xdpyinfo_cmd={has!r}, timeout=0": 1,
    }
    asked = ", ".join(f"anaheadless.test_glx({arguments})" for arguments in calls)
    assert answer(f"say(glx=[{asked}])") == {"glx": list(calls.values())}


@pytest.mark.parametrize("arguments", ["1, 2, 3, 4, 5", "'a', 'b', 1, 2", "'a', glxinfo_cmd='b'", "magic=1"])
def test_arguments_that_make_no_sense_are_refused(arguments: str) -> None:
    code = f"""
    try:
        anaheadless.test_glx({arguments})
    except TypeError as error:
        say(words=str(error))
    """
    assert "test_glx" in answer(code)["words"]


def test_a_command_is_looked_for_on_path(tmp_path: Path) -> None:
    command(tmp_path, "my-glxinfo", GLXINFO)
    environ = bare(PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert answer("say(glx=anaheadless.test_glx(glxinfo_cmd='my-glxinfo'))", env=environ) == {"glx": 2}


@pytest.mark.needs("xdpyinfo")
def test_xdpyinfo_can_be_the_command(regular: dict[str, str], without_glx: dict[str, str]) -> None:
    for environ, grade in (regular, 1), (without_glx, 0):
        assert answer("say(glx=anaheadless.test_glx(xdpyinfo_cmd='xdpyinfo'))", env=environ) == {"glx": grade}
    assert answer("say(glx=anaheadless.test_glx(xdpyinfo_cmd='xdpyinfo', timeout=0))", env=bare(DISPLAY=nobody())) == {
        "glx": 0
    }


@pytest.mark.needs("glxinfo")
def test_glxinfo_can_be_the_command(regular: dict[str, str], without_glx: dict[str, str]) -> None:
    for environ, grade in (regular, 2), (without_glx, 0):
        assert answer("say(glx=anaheadless.test_glx(glxinfo_cmd='glxinfo'))", env=environ) == {"glx": grade}


@pytest.mark.parametrize("missing", ["no-such-command", "/nonexistent/command", "/dev/null"])
def test_missing_commands_are_passed_over(missing: str, tmp_path: Path) -> None:
    there = command(tmp_path, "xdpyinfo", XDPYINFO)
    said = answer(
        f"""
        say(
            both=anaheadless.test_glx([{missing!r}, 'argument'], {missing!r}),
            one=anaheadless.test_glx({missing!r}, {there!r}),
        )
        """
    )
    assert said == {"both": 0, "one": 1}


@pytest.mark.parametrize(("name", "lines", "grade"), [("glxinfo", GLXINFO, 2), ("xdpyinfo", XDPYINFO, 1)])
def test_a_server_that_is_starting_is_awaited(name: str, lines: list[str], grade: int, tmp_path: Path) -> None:
    path = command(tmp_path, name, [f"if test $(wc -l <{tmp_path}/{name}.pids) -lt 4; then", *UNABLE, "fi", *lines])
    assert answer(f"say(glx=anaheadless.test_glx(timeout=50, {name}_cmd={path!r}))") == {"glx": grade}
    assert len(started(tmp_path, name)) == 4


@pytest.mark.parametrize("name", ["glxinfo", "xdpyinfo"])
def test_a_server_that_never_comes_is_given_up(name: str, tmp_path: Path) -> None:
    path = command(tmp_path, name, UNABLE)
    assert answer(f"say(glx=anaheadless.test_glx(timeout=0, {name}_cmd={path!r}))") == {"glx": 0}
    assert len(started(tmp_path, name)) == 1
    start = time.monotonic()
    assert answer(f"say(glx=anaheadless.test_glx(timeout=2, {name}_cmd={path!r}))") == {"glx": 0}
    assert time.monotonic() - start < 20
    assert len(started(tmp_path, name)) > 2  # with the one before


@pytest.mark.parametrize("stubborn", ["", "trap '' TERM INT HUP"], ids=["", "stubborn"])
@pytest.mark.parametrize("names", [["glxinfo"], ["xdpyinfo"], ["glxinfo", "xdpyinfo"]], ids=" ".join)
def test_a_command_that_hangs_is_given_up(names: list[str], stubborn: str, tmp_path: Path) -> None:
    """It is given up, and with it all that it has started."""
    commands = {}
    for name in names:
        lines = [stubborn, f"sleep 600 & echo $! >>{tmp_path}/{name}.pids", "wait"]
        commands[f"{name}_cmd"] = command(tmp_path, name, lines)
    try:
        assert answer(f"say(glx=anaheadless.test_glx(timeout=0.5, **{commands}))", timeout=20) == {"glx": 0}
        pids = started(tmp_path, names[0])
        assert len(pids) == 2
        wait_until(lambda: not any(map(processes.is_alive, pids)), "the command and its child have ended")
    finally:
        for pid in [pid for name in names if (tmp_path / f"{name}.pids").exists() for pid in started(tmp_path, name)]:
            if processes.is_alive(pid):
                os.kill(pid, signal.SIGKILL)


# --- test_opengl


def test_libraries_of_this_process_are_found() -> None:
    said = answer(
        f"""
        before = anaheadless.test_opengl()
        {LOADS}
        after = [sorted(anaheadless.test_opengl(*pid)) for pid in ((), (None,), (os.getpid(),))]
        say(before=sorted(before), kind=type(before).__name__, after=after)
        """
    )
    assert (said["before"], said["kind"]) == ([], "set")
    ((path,),) = {tuple(paths) for paths in said["after"]}
    assert os.path.isfile(path)
    assert os.path.basename(path).startswith("libGL.so.1")


@pytest.mark.parametrize("loads", [False, True])
def test_libraries_of_another_process_are_found(loads: bool) -> None:
    other = f"{LOADS if loads else ''}\nprint(flush=True)\n__import__('sys').stdin.read()"
    command = [sys.executable, "-c", other]
    with subprocess.Popen(command, env=bare(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        pid = process.pid
        code = "say(other=list(anaheadless.test_opengl(int(sys.argv[1]))), own=list(anaheadless.test_opengl()))"
        said = answer(code, str(pid))
        process.communicate(timeout=PATIENCE)
    assert [os.path.basename(path)[:10] for path in said["other"]] == (["libGL.so.1"] if loads else [])
    assert said["own"] == []
    gone = answer("say(words=tried(anaheadless.test_opengl, int(sys.argv[1])))", str(pid))["words"]
    assert gone.startswith(f"anaheadless: the libraries of process {pid} can't be seen: No such file or directory\n")
    assert "It has ended, or it is another user's." in gone


def test_found_libraries_are_said_on_stderr() -> None:
    code = f"{LOADS}; found = anaheadless.test_opengl(verbose=True); print(*found)"
    output = python(code)
    assert output.returncode == 0
    assert "libGL.so.1" in output.stdout
    assert output.stdout == output.stderr


# --- test_qapp

APPLICATIONS = {
    "no Qt": ("app = None", None),
    "no application": ("from PyQt5 import QtCore, QtGui, QtWidgets", None),
    "QCoreApplication": ("from PyQt5 import QtCore; app = QtCore.QCoreApplication(['-'])", "QtCore"),
    "QGuiApplication": ("from PyQt5 import QtGui; app = QtGui.QGuiApplication(['-'])", "QApp"),
    "QApplication": ("from PyQt5 import QtWidgets; app = QtWidgets.QApplication(['-'])", "QApp"),
    "deleted": ("from PyQt5 import QtCore; app = QtCore.QCoreApplication(['-']); del app", None),
}


@pytest.mark.parametrize(("before", "expected"), APPLICATIONS.values(), ids=APPLICATIONS)
def test_an_application_of_pyqt5_is_found(before: str, expected: str | None, tmp_path: Path) -> None:
    code = f"""
    {before}
    anaheadless.test_qapp()
    modules = set(sys.modules)
    said = anaheadless.test_qapp()
    say(said=said, imported=sorted(set(sys.modules) - modules), qt=sorted(name for name in modules if 'Qt' in name))
    """
    said = answer(code, env=bare(QT_QPA_PLATFORM="offscreen", XDG_RUNTIME_DIR=str(tmp_path)))
    assert (said["said"], said["imported"]) == (expected, [])
    assert bool(said["qt"]) is (before != "app = None")


# A binding that is not installed, as far as it is looked at.
STAND_IN = """
from types import ModuleType, SimpleNamespace
package, core = ModuleType({binding!r}), ModuleType('{binding}.QtCore')
application = SimpleNamespace(inherits=lambda kind: kind in kinds) if kinds else None
core.QCoreApplication = SimpleNamespace(instance=lambda: application)
sys.modules.update({{package.__name__: package, core.__name__: core}})
"""
KINDS: dict[tuple[str, ...], str | None] = {
    (): None,
    ("QObject", "QCoreApplication"): "QtCore",
    ("QObject", "QCoreApplication", "QGuiApplication"): "QApp",
    ("QObject", "QCoreApplication", "QGuiApplication", "QApplication"): "QApp",
}


@pytest.mark.parametrize("beside", ["", "import PyQt5.QtCore"], ids=["alone", "beside PyQt5"])
@pytest.mark.parametrize("binding", ["PyQt6", "PySide2", "PySide6"])
def test_an_application_of_other_bindings_is_found(binding: str, beside: str) -> None:
    stand_in = STAND_IN.format(binding=binding)
    asks = [f"kinds = {kinds}\n{stand_in}\nfound.append(anaheadless.test_qapp())\n" for kinds in KINDS]
    code = f"{beside}\nfound = []\n{''.join(asks)}say(found=found)"
    assert answer(code) == {"found": list(KINDS.values())}


def test_no_application_is_found_while_qt_is_being_imported() -> None:
    code = "import types; sys.modules['PySide6.QtCore'] = types.ModuleType('QtCore'); say(said=anaheadless.test_qapp())"
    assert answer(code) == {"said": None}


# --- find_mesa


@pytest.mark.parametrize("place", ["lib/mesa", "lib/mesalib/lib", "mesalib/lib"])
def test_a_mesa_in_the_library_path_is_found(place: str, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    environ = bare(LD_LIBRARY_PATH=f"/nonexistent:{tmp_path}/lib")
    code = "say(found=anaheadless.find_mesa())"
    without = answer(code, env=environ)["found"]
    assert without is None or os.path.isfile(without)
    assert without == answer(code, env=bare())["found"]
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place / "libGL.so.1").touch()
    assert answer(code, env=environ) == {"found": f"{tmp_path}/{place}/libGL.so.1"}


# --- setup_virtualGL

FAKED = """
from anaheadless.opengl import rendercheck
before = dict(os.environ)
first, second = anaheadless.setup_virtualGL(), anaheadless.setup_virtualGL()
on = os.environ.get('VGL_DISPLAY')
changed = sorted(name for name in {*before, *os.environ} if os.environ.get(name) != before.get(name))
child = subprocess.run([sys.executable, rendercheck.__file__], stdout=subprocess.PIPE, text=True).stdout
drawn = picture(sys.argv[1])[1:] if sys.argv[1:] else None
anaheadless.stop_headless()
say(
    found=[first, second], changed=changed, vendor='vendor: VirtualGL' in child, drawn=drawn,
    on=on, fakers=libraries('faker'), same=dict(os.environ) == before,
)
"""
IMPOSSIBLE = {
    "no display": ("pass", False),
    "QtGui": ("import PyQt5.QtGui", True),
    "libGL": (LOADS, True),
    "QCoreApplication": ("from PyQt5 import QtCore; app = QtCore.QCoreApplication(['-'])", True),
    "QApplication": ("from PyQt5 import QtWidgets; app = QtWidgets.QApplication(['-'])", True),
}


@pytest.mark.parametrize(("before", "display"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_virtualgl_is_not_set_up_where_it_can_not_draw(before: str, display: bool, regular: dict[str, str]) -> None:
    said = answer(f"{before}\n{FAKED}", env=regular if display else bare())
    assert said["found"] == [False, False]
    assert (said["changed"], said["fakers"], said["vendor"], said["same"]) == ([], [], False, True)


@pytest.mark.skipif(VGLRUN is not None, reason="VirtualGL is installed")
def test_virtualgl_that_is_not_installed_is_not_set_up(regular: dict[str, str]) -> None:
    assert answer(FAKED, env=regular)["found"] == [False, False]


def assert_faked(said: dict[str, Any]) -> None:
    assert said["found"] == [True, True]
    assert {"LD_PRELOAD", "VGL_ISACTIVE"} <= set(said["changed"])
    assert not {"DISPLAY", "XAUTHORITY", "ANAHEADLESS_SESSION"} & set(said["changed"])
    assert said["drawn"] == COLOURS
    assert (said["vendor"], said["same"]) == (True, True)
    assert "libvglfaker.so" in said["fakers"]


@needs_virtualgl
def test_virtualgl_draws_where_it_gains_something(regular: dict[str, str], tmp_path: Path) -> None:
    """On the first GPU, or a software EGL device: on the display itself it would be no gain."""
    said = answer(FAKED, f"{tmp_path}/out.png", env=regular)
    assert_faked(said)
    assert said["on"] == "egl"


@needs_virtualgl
def test_virtualgl_draws_on_a_3d_server(without_glx: dict[str, str], tmp_path: Path) -> None:
    with x_server() as server:
        said = answer(FAKED, f"{tmp_path}/out.png", env={**without_glx, "VGL_DISPLAY": server.display})
    assert_faked(said)
    assert said["on"] == server.display


def found_in_a_session(backend: str) -> dict[str, bool]:
    code = "before = dict(os.environ); say(found=anaheadless.setup_virtualGL(), same=dict(os.environ) == before)"
    output = run("run", "--gl", backend, "-c", code_of(code), env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    said: dict[str, bool] = json.loads(output.stdout)
    return said


def test_virtualgl_is_not_set_up_in_a_session_without_it() -> None:
    for backend in "native", "none":
        assert found_in_a_session(backend) == {"found": False, "same": True}


@needs_virtualgl
def test_virtualgl_is_there_in_a_session_with_it() -> None:
    assert found_in_a_session("virtualgl") == {"found": True, "same": True}
