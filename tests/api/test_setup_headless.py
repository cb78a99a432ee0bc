"""setup_headless() in a program that a plain Python runs: a display of its own, and nothing of it left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import anaheadless
from anaheadless.system import processes
from tests.support.drivers import BROKEN, broken_gl, lacking_vendor
from tests.support.helpers import (
    ANAHEADLESS,
    CHECKOUT,
    PATIENCE,
    Session,
    count_servers,
    is_running,
    keepers_of,
    processes_of,
    run,
    wait_until,
    write_program,
)
from tests.support.plain import COLOURS, answer, bare, code_of, finish, regular_display, reporting
from tests.support.virtualgl import needs_virtualgl
from tests.support.x_servers import nobody

HEAVY = {"subprocess", "psutil", "click", "ctypes", "socket", "asyncio", "logging", "tempfile"}
QT = ("PyQt5", "PyQt6", "PySide2", "PySide6", "sip")

# By what is done before, why libraries can't be put in front of anything any more; and what Qt there is.
TOO_LATE = {
    "QtGui": ("import PyQt5.QtGui", None),
    "libGL": ("import ctypes; ctypes.CDLL('libGL.so.1')", None),
    "libX11": ("import ctypes; ctypes.CDLL('libX11.so.6')", None),
    "QCoreApplication": ("from PyQt5.QtCore import QCoreApplication; app = QCoreApplication(['-'])", "QtCore"),
}
too_late = pytest.mark.parametrize(("before", "qtapp"), TOO_LATE.values(), ids=TOO_LATE)


@pytest.fixture(scope="module")
def regular() -> Iterator[dict[str, str]]:
    with regular_display() as environ:
        yield environ


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment where each X server that is started notes that in the file ``servers``."""
    server = f'exec {shutil.which("Xvfb")} $EXTRA "$@"'
    write_program(tmp_path / "bin" / "Xvfb", f"echo $$ >>{tmp_path}/servers", "unset LD_LIBRARY_PATH", server)
    yield bare(PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    wait_until(lambda: not processes_of(tmp_path), "no process of the test is left")


# --- what it does


@pytest.mark.parametrize("original", [None, "nowhere"])
@pytest.mark.needs("xdpyinfo")
def test_a_plain_program_gets_a_display_with_opengl(original: str | None) -> None:
    display = {"DISPLAY": nobody()} if original else {}
    code = """
    info = anaheadless.setup_headless()
    again = anaheadless.setup_headless(False, True, need_opengl=False)
    report(
        info, same=again is info, kind=isinstance(info, anaheadless.HeadlessInfo), DISPLAY=os.environ['DISPLAY'],
        poll=info.virtual_display_proc.poll(), glx='GLX' in xdpyinfo(), loaded=libraries('libGL', 'libX11', 'Qt'),
    )
    sys.stdin.readline()
    """
    with reporting(code, env=bare(**display)) as session:
        said = session.facts
        assert (said["same"], said["kind"], said["poll"], said["glx"]) == (True, True, None, True)
        assert said["DISPLAY"] == session.display
        assert said["loaded"] == []
        info = said["info"]
        assert info.pop("backend") in ("virtualgl", "nvidia", "native", "mesa")
        assert info.pop("renderer")
        assert info == {
            "virtual_display_proc": session.server.pid,
            "original_display": display.get("DISPLAY"),
            "display": session.display,
            "glx": 2,
            "virtualgl": False,
            "mesa": False,
            "headless": True,
            "qtapp": None,
            "qapp": None,
        }
        assert session.keeper in keepers_of(session.process.pid)
        assert len(keepers_of(session.process.pid)) == 1
        assert session.keeper.children() == [session.server]
        assert finish(session) == (0, "", "")


def test_opengl_draws_in_a_widget(tmp_path: Path) -> None:
    """Qt is connected until the very end of the process, which has to be a quiet one."""
    said = answer(
        """
        info = anaheadless.setup_headless()
        say(picture=picture(sys.argv[1]), renderer=info.renderer)
        """,
        f"{tmp_path}/out.png",
    )
    assert said["picture"] == [f"xcb {said['renderer']}", *COLOURS]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("module", ["anaheadless", "anaheadless.headless"])
def test_the_import_is_light(module: str) -> None:
    code = f"""
import sys
before = set(sys.modules)
import {module}
anaheadless.setup_headless, anaheadless.test_qapp()
print(*sorted(set(sys.modules) - before))
print(*(line.split()[-1] for line in open('/proc/self/maps')))
"""
    output = run("-c", code, command=sys.executable, env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    modules, libraries = output.stdout.splitlines()
    assert "anaheadless.headless" in modules.split()
    assert not {name.partition(".")[0] for name in modules.split()} & {*HEAVY, *QT}
    assert not any(word in libraries for word in ("libGL", "libX11", "Qt5", "libffi"))


@pytest.mark.needs("xdpyinfo")
def test_opengl_can_be_done_without() -> None:
    said = answer(
        """
        info = anaheadless.setup_headless(need_opengl=False)
        say(**told(info), shown=xdpyinfo(), glx_now=anaheadless.test_glx())
        """
    )
    assert (said["glx"], said["backend"], said["renderer"]) == (None, "none", None)
    assert said["headless"] is True
    assert "dimensions:" in said["shown"]
    assert "GLX" not in said["shown"]
    assert said["glx_now"] == 0


@pytest.mark.needs("xdpyinfo")
def test_many_threads_share_one_server(counted: dict[str, str], tmp_path: Path) -> None:
    said = answer(
        """
        import threading
        found = []
        ask = lambda: found.append(anaheadless.setup_headless(need_opengl=False))
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        say(different=len(set(map(id, found))), found=len(found), shown=xdpyinfo())
        """,
        env=counted,
    )
    assert (said["different"], said["found"]) == (1, 8)
    assert "dimensions:" in said["shown"]
    assert count_servers(tmp_path) == 1


# --- how long it lasts

ENDS: dict[str, tuple[str, int, str]] = {
    "end": ("pass", 0, ""),
    "sys.exit": ("sys.exit(3)", 3, ""),
    "exception": ("raise RuntimeError('as it happens')", 1, "RuntimeError: as it happens"),
    "os._exit": ("os._exit(4)", 4, ""),
    "SIGTERM": ("os.kill(os.getpid(), 15)", -15, ""),
    "SIGKILL": ("os.kill(os.getpid(), 9)", -9, ""),
}


@pytest.mark.parametrize(("end", "status", "words"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("qt", [False, True], ids=["", "QApplication"])
def test_nothing_is_left_after(qt: bool, end: str, status: int, words: str) -> None:
    application = "from PyQt5.QtWidgets import QApplication; app = QApplication([])" if qt else ""
    code = f"""
    info = anaheadless.setup_headless(need_opengl=False)
    {application}
    report(info)
    sys.stdin.readline()
    {end}
    """
    with reporting(code) as session:
        ended, output, errors = finish(session)
        assert (ended, output) == (status, "")
        assert (words in errors) if words else (errors == "")
        session.wait_until_nothing_is_left()


@pytest.mark.parametrize("number", [15, 9], ids=["SIGTERM", "SIGKILL"])
def test_nothing_is_left_of_a_process_that_is_killed_while_it_sets_up(
    number: int, counted: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", code_of("anaheadless.setup_headless()")], env=counted) as process:
        wait_until((tmp_path / "servers").exists, "the server is started")
        process.send_signal(number)
        assert process.wait(PATIENCE) in (0, -number)
    wait_until(lambda: not keepers_of(process.pid), "the keeper is gone")


@pytest.mark.needs("xdpyinfo")
def test_the_display_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    said = answer(
        """
        import threading
        found = []
        thread = threading.Thread(target=lambda: found.append(anaheadless.setup_headless()))
        thread.start()
        thread.join()
        poll = found[0].virtual_display_proc.poll()
        say(headless=found[0].headless, poll=poll, shown=xdpyinfo(), picture=picture(sys.argv[1])[1:])
        """,
        f"{tmp_path}/out.png",
    )
    assert "dimensions:" in said.pop("shown")
    assert said == {"headless": True, "picture": COLOURS, "poll": None}


@pytest.mark.parametrize("end", ["os._exit(0)", "sys.exit(0)", "anaheadless.stop_headless(); os._exit(0)"])
@pytest.mark.needs("xdpyinfo")
def test_a_forked_child_has_the_same_display_and_leaves_it_alone(end: str) -> None:
    said = answer(
        f"""
        info = anaheadless.setup_headless(need_opengl=False)
        child = os.fork()
        if not child:
            assert anaheadless.setup_headless() is info and 'dimensions:' in xdpyinfo()
            {end}
        status = os.waitpid(child, 0)[1]
        say(status=status, shown=xdpyinfo(), poll=info.virtual_display_proc.poll())
        """
    )
    assert (said["status"], said["poll"]) == (0, None)
    assert "dimensions:" in said["shown"]


def test_the_session_ends_with_its_process_whatever_a_forked_child_does() -> None:
    code = """
    import signal
    info = anaheadless.setup_headless(need_opengl=False)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(60)
        for number in 0, 1, 2: os.close(number)
        os.write(writing, b'.')
        signal.pause()
    os.read(reading, 1)
    report(info, child=child)
    sys.stdin.readline()
    """
    with reporting(code) as session:
        child = psutil.Process(session.facts["child"])
        try:
            assert finish(session) == (0, "", "")
            session.wait_until_nothing_is_left()
            assert is_running(child)
        finally:
            child.kill()


ORPHAN = """
import signal, time, warnings
signal.alarm(60)
warnings.simplefilter("ignore", DeprecationWarning)  # Python's own word on a fork beside Qt's threads
first = anaheadless.setup_headless(need_opengl=False)
BEFORE
parent = os.getpid()
if os.fork():
    os._exit(0)
from anaheadless.system import processes
while processes.is_alive(parent):  # with its threads, which may outlive its main one for a moment
    time.sleep(0.001)
second = tried(anaheadless.setup_headless, need_opengl=False)
if not isinstance(second, str):
    again = anaheadless.setup_headless(need_opengl=False) is second
    server = second.virtual_display_proc
    say(old=first.virtual_display_proc.pid, new=server.pid, shown=xdpyinfo(), again=again, poll=server.poll(),
        DISPLAY=os.environ['DISPLAY'], info=told(second))
else:
    say(words=second)
os._exit(0)  # Qt would end it otherwise, where it is connected
"""


@pytest.mark.parametrize("launched", [False, True], ids=["", "launched"])
@pytest.mark.needs("xdpyinfo")
def test_a_child_whose_parent_has_ended_gets_a_display_of_its_own(launched: bool) -> None:
    display = nobody()
    code = code_of(ORPHAN.replace("BEFORE", ""))
    words = [ANAHEADLESS, "run", "--gl", "none"] if launched else [sys.executable]
    output = run(*words[1:], "-c", code, command=words[0], env=bare(DISPLAY=display))
    assert (output.returncode, output.stderr) == (0, "")
    said = json.loads(output.stdout)
    assert said["new"] != said["old"]
    assert (said["again"], said["poll"], said["DISPLAY"]) == (True, None, said["info"]["display"])
    assert "dimensions:" in said["shown"]
    assert said["info"]["original_display"] == display or launched


@pytest.mark.needs("xdpyinfo")
def test_a_child_whose_parent_has_ended_is_told_that_its_application_has_no_display() -> None:
    before = "from PyQt5.QtWidgets import QApplication; app = QApplication([])"
    words = answer(ORPHAN.replace("BEFORE", before))["words"]
    assert words.startswith("anaheadless: display :")
    assert "has ended with its session" in words
    assert "before it makes a QApplication" in words


SERVER = """
import signal
info = anaheadless.setup_headless(need_opengl=False)
server = info.virtual_display_proc
keeper = int(os.environ['ANAHEADLESS_SESSION'].partition(',')[2])
polls = [server.poll()]
try:
    server.wait(timeout=0.01)
except subprocess.TimeoutExpired as error:
    polls.append(error.timeout)
BEFORE
server.END()
polls += [server.wait(), server.poll(), server.wait(0)]
server.terminate(), server.kill()
second = anaheadless.setup_headless(need_opengl=False)
pids = [server.pid, second.virtual_display_proc.pid]
say(polls=polls, pids=pids, keeper=keeper, shown=xdpyinfo(), display=info.display)
"""


@pytest.mark.parametrize("launched", [False, True], ids=["", "launched"])
@pytest.mark.parametrize(
    ("end", "before"),
    [("terminate", ""), ("kill", ""), ("terminate", "os.kill(keeper, signal.SIGSTOP)")],
    ids=["terminate", "kill", "terminate while it is stopped"],
)
@pytest.mark.needs("xdpyinfo")
def test_the_server_can_be_ended_as_a_popen(end: str, before: str, launched: bool) -> None:
    """And the session with it; the program goes on, and may have another one."""
    code = code_of(SERVER.replace("END", end).replace("BEFORE", before))
    words = [ANAHEADLESS, "run", "--gl", "none"] if launched else [sys.executable]
    output = run(*words[1:], "-c", code, command=words[0], env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    said = json.loads(output.stdout)
    assert said["polls"] == [None, 0.01, 0, 0, 0]
    assert "dimensions:" in said["shown"]
    first, second = said["pids"]
    assert first != second
    wait_until(lambda: not any(map(processes.is_alive, (first, said["keeper"]))), "keeper and server are gone")


@pytest.mark.needs("xdpyinfo")
def test_the_server_of_another_session_is_left_alone() -> None:
    """Its keeper's number may be another process's by now."""
    said = answer(
        """
        import dataclasses
        server = anaheadless.setup_headless(need_opengl=False).virtual_display_proc
        ended = server.session.replace(keeper_start=str(int(server.session.keeper_start) - 1))
        dataclasses.replace(server, session=ended).terminate()
        dataclasses.replace(server, session=server.session.replace(keeper=os.getpid())).kill()
        say(shown=xdpyinfo(), poll=server.poll())
        """
    )
    assert "dimensions:" in said["shown"]
    assert said["poll"] is None


# --- a QApplication, where it is asked for


@pytest.mark.parametrize("need_opengl", [True, False])
def test_an_application_is_made_where_it_is_asked_for(need_opengl: bool) -> None:
    said = answer(
        f"""
        plain = anaheadless.setup_headless(need_opengl={need_opengl})
        before = plain.qapp
        info = anaheadless.setup_headless(qapp=True)
        from PyQt5.QtWidgets import QApplication, QLabel
        label = QLabel('x')
        label.show()
        say(before=before, same=info is plain, made=info.qapp is QApplication.instance(), null=label.grab().isNull(),
            platform=info.qapp.platformName())
        """
    )
    assert said == {"before": None, "same": True, "made": True, "null": False, "platform": "xcb"}


def test_the_application_is_there_for_as_long_as_the_process() -> None:
    said = answer(
        """
        anaheadless.setup_headless(need_opengl=False, qapp=True)
        anaheadless.stop_headless()
        import gc; gc.collect()
        say(qapp=anaheadless.test_qapp())
        """
    )
    assert said == {"qapp": "QApp"}


def test_an_application_that_can_not_be_made_is_said(counted: dict[str, str], tmp_path: Path) -> None:
    """That is said before anything is started."""
    said = answer(
        """
        sys.modules.update(dict.fromkeys(['PyQt5', 'PyQt6', 'PySide2', 'PySide6']))
        before = dict(os.environ)
        words = tried(anaheadless.setup_headless, qapp=True)
        say(words=words, same=dict(os.environ) == before)
        """,
        env=counted,
    )
    assert said["words"].startswith("anaheadless: no QApplication can be made")
    assert "pip install PyQt5" in said["words"]
    assert said["same"] is True
    assert not (tmp_path / "servers").exists()


# --- and how it is undone

SETTINGS: dict[str, dict[str, str]] = {
    "nothing was set": {},
    "all was set": {
        "DISPLAY": ":1.0",
        "XAUTHORITY": "/nonexistent/authority",
        "XDG_SESSION_TYPE": "wayland",
        "XDG_RUNTIME_DIR": "/nonexistent/runtime",
        "WAYLAND_DISPLAY": "wayland-0",
        "QT_QPA_PLATFORM": "wayland;xcb",
        "GDK_BACKEND": "wayland",
        "ANAHEADLESS_SESSION": ":1,1",
        "PYTHONPATH": f"/nonexistent/folder:{CHECKOUT}",
    },
    "some was empty": {"DISPLAY": "", "XAUTHORITY": "", "XDG_SESSION_TYPE": "", "QT_QPA_PLATFORM": ""},
}
settings = pytest.mark.parametrize("given", SETTINGS.values(), ids=SETTINGS)


@settings
def test_stop_restores_the_environment(given: dict[str, str]) -> None:
    """As this process sees it, and as what it starts does."""
    environ = {name: value for name, value in bare().items() if not name.startswith("XDG_")}
    if "DISPLAY" in given:
        given = {**given, "DISPLAY": given["DISPLAY"] and nobody()}
    code = """
    def env():
        block = subprocess.run(['env', '-0'], stdout=subprocess.PIPE, text=True).stdout
        return dict(entry.split('=', 1) for entry in block.split('\\0')[:-1])
    before = [dict(os.environ), env()]
    info = anaheadless.setup_headless(need_opengl=False)
    pid = int(os.environ['ANAHEADLESS_SESSION'].partition(',')[2])
    between = dict(os.environ)
    anaheadless.stop_headless()
    after = [dict(os.environ), env()]
    proc = info.virtual_display_proc
    say(before=before, between=between, after=after, poll=proc.poll(), pids=[proc.pid, pid], display=info.display)
    """
    said = answer(code, env={**environ, **given})
    assert said["after"] == said["before"]
    assert said["between"]["DISPLAY"] == said["display"] != given.get("DISPLAY")
    assert said["between"]["XAUTHORITY"] != given.get("XAUTHORITY")
    assert "WAYLAND_DISPLAY" not in said["between"]
    assert said["poll"] == 0
    wait_until(lambda: not any(map(processes.is_alive, said["pids"])), "keeper and server are gone")
    assert not os.path.lexists(f"/tmp/.X11-unix/X{said['display'][1:]}")


def test_stop_leaves_what_the_program_has_changed() -> None:
    said = answer(
        """
        info = anaheadless.setup_headless(need_opengl=False)
        before = dict(os.environ)
        os.environ['XDG_SESSION_TYPE'] = 'mine'
        os.environ['OF_THE_PROGRAM'] = 'too'
        del os.environ['XAUTHORITY']
        anaheadless.stop_headless()
        say(environ=dict(os.environ))
        """,
        env=bare(XDG_SESSION_TYPE="wayland", XAUTHORITY="/nonexistent/authority"),
    )
    environ = said["environ"]
    assert (environ["XDG_SESSION_TYPE"], environ["OF_THE_PROGRAM"]) == ("mine", "too")
    assert not {"XAUTHORITY", "DISPLAY", "ANAHEADLESS_SESSION"} & environ.keys()


def test_after_stop_there_can_be_another_display(tmp_path: Path) -> None:
    said = answer(
        """
        before = dict(os.environ)
        first = anaheadless.setup_headless(need_opengl=False)
        anaheadless.stop_headless()
        anaheadless.stop_headless()
        second = anaheadless.setup_headless()
        polls = [info.virtual_display_proc.poll() for info in (first, second)]
        say(first=told(first), second=told(second), polls=polls, picture=picture(sys.argv[1])[1:])
        """,
        f"{tmp_path}/out.png",
    )
    assert said["polls"] == [0, None]
    assert (said["first"]["glx"], said["second"]["glx"]) == (None, 2)
    assert said["first"]["original_display"] is said["second"]["original_display"] is None
    assert said["picture"] == COLOURS


def test_stop_leaves_the_display_to_an_application() -> None:
    """Qt would end the process if its display went: it stays until the process ends by itself."""
    code = """
    before = dict(os.environ)
    info = anaheadless.setup_headless(need_opengl=False)
    report(info)
    from PyQt5.QtWidgets import QApplication, QLabel
    app = QApplication([])
    anaheadless.stop_headless()
    restored = dict(os.environ) == before
    label = QLabel('drawn afterwards')
    label.show()
    app.processEvents()
    say(restored=restored, drawn=not label.grab().isNull(), poll=info.virtual_display_proc.poll())
    sys.stdin.readline()
    """
    with reporting(code) as session:
        assert session.process.stdout is not None
        said = json.loads(session.process.stdout.readline())
        assert said == {"restored": True, "drawn": True, "poll": None}
        status, output, errors = finish(session)
        assert (status, output) == (0, "")
        # Qt starts EGL with the first window, when nothing says any more that it must not: Mesa from 26 on warns.
        assert all(line.startswith("MESA-EGL: warning: ") for line in errors.splitlines()), errors
        session.wait_until_nothing_is_left()


def test_stop_without_a_display_does_nothing() -> None:
    said = answer(
        """
        before = dict(os.environ)
        anaheadless.stop_headless()
        say(same=dict(os.environ) == before)
        """
    )
    assert said == {"same": True}


# --- inside a launched program

INSIDE = """
before = dict(os.environ)
info = anaheadless.setup_headless()
anaheadless.stop_headless()
shown = xdpyinfo()
info = anaheadless.setup_headless()
try:
    child = os.waitpid(-1, 0)[0]
except ChildProcessError:
    child = None
report(info, same=dict(os.environ) == before, shown=shown, child=child)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("options", "glx", "server_has_glx"), [((), 2, True), (("--gl", "none"), 0, False)], ids=["OpenGL", "none"]
)
@pytest.mark.needs("xdpyinfo")
def test_a_launched_program_keeps_the_display_of_its_session(
    options: tuple[str, ...], glx: int, server_has_glx: bool
) -> None:
    command = [ANAHEADLESS, "run", *options, "-c", code_of(INSIDE)]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    display = nobody()
    with subprocess.Popen(command, text=True, env=bare(DISPLAY=display), **streams) as process:  # type: ignore[call-overload]
        try:
            session = Session(process)
            said = session.facts
            assert (said["same"], said["child"]) == (True, None)
            assert "dimensions:" in said["shown"]
            assert ("GLX" in said["shown"]) is server_has_glx
            info = said["info"]
            assert (info["headless"], info["glx"], info["display"]) == (True, glx, session.display)
            assert (info["original_display"], info["qtapp"]) == (display, None)
            assert (info["backend"] == "none") is (glx == 0)
            assert (info["renderer"] is None) is (glx == 0)
            assert keepers_of(process.pid) == [session.keeper]
            assert session.keeper.children() == [session.server]
            assert finish(session) == (0, "", "")
        finally:
            process.kill()
    session.wait_until_nothing_is_left()


SETS_UP = """
info = anaheadless.setup_headless(need_opengl=False)
report(info)
sys.stdin.readline()
"""


def test_a_session_that_has_ended_is_replaced() -> None:
    """Its variables are still there, as in a job that a launched program left behind."""
    names = ("DISPLAY", "XAUTHORITY", "ANAHEADLESS_SESSION")
    code = f"import json, os; print(json.dumps({{name: os.environ[name] for name in {names}}}))"
    ended = json.loads(run("run", "--gl", "none", "-c", code, env=bare()).stdout)
    with reporting(SETS_UP, env=bare(**ended)) as session:
        assert f",{session.keeper.pid}" not in ended["ANAHEADLESS_SESSION"]
        assert session.facts["info"]["original_display"] == ended["DISPLAY"]
        assert session.facts["info"]["headless"] is True
        assert finish(session) == (0, "", "")


@pytest.mark.needs("xdpyinfo")
def test_another_display_than_the_sessions_is_replaced() -> None:
    other = nobody()
    output = run(
        *("run", "--gl", "none", "-c"),
        code_of(
            f"""
            own = os.environ['DISPLAY']
            os.environ['DISPLAY'] = {other!r}
            info = anaheadless.setup_headless(need_opengl=False)
            shown = xdpyinfo()
            anaheadless.stop_headless()
            say(own=own, info=told(info), shown=shown, after=os.environ['DISPLAY'])
            """
        ),
        env=bare(),
    )
    assert (output.returncode, output.stderr) == (0, "")
    said = json.loads(output.stdout)
    assert said["info"]["display"] not in (said["own"], other)
    assert said["info"]["original_display"] == said["after"] == other
    assert f"name of display:    {said['info']['display']}\n" in said["shown"]


def test_a_screen_of_the_sessions_display_is_that_display() -> None:
    """``:2000.0`` is the session's display, too."""
    code = "os.environ['DISPLAY'] += '.0'; info = anaheadless.setup_headless(); say(**told(info), pid=os.getpid())"
    output = run("run", "--gl", "none", "-c", code_of(code), env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    said = json.loads(output.stdout)
    assert (said["headless"], said["backend"], said["original_display"]) == (True, "none", None)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
@pytest.mark.parametrize("display", [None, ":1"])
def test_other_systems_are_left_alone(platform: str, display: str | None) -> None:
    """Where the modules for Unix can't even be imported."""
    code = f"""
import sys
sys.platform = {platform!r}
for name in 'fcntl', 'resource', 'termios', 'pwd', 'grp': sys.modules[name] = None
import anaheadless
before = dict(__import__('os').environ)
info = anaheadless.setup_headless()
assert anaheadless.setup_headless() is info
anaheadless.stop_headless()
anaheadless.relaunch()
assert anaheadless.setup_virtualGL() is False
assert dict(__import__('os').environ) == before
print(info.headless, info.display, info.original_display, info.glx, info.virtualgl, info.virtual_display_proc)
"""
    environ = bare(**({"DISPLAY": display} if display else {}))
    output = run("-c", code, command=sys.executable, env=environ)
    assert (output.returncode, output.stderr) == (0, "")
    assert output.stdout == f"False {display} {display} None False None\n"


# --- too late for something


@too_late
def test_it_works_though_libraries_of_opengl_are_loaded(before: str, qtapp: str | None, tmp_path: Path) -> None:
    drawn = "[]" if qtapp else "picture(sys.argv[1])[1:]"
    code = f"{before}\ninfo = anaheadless.setup_headless()\nsay(**told(info), picture={drawn})"
    said = answer(code, f"{tmp_path}/out.png")
    assert (said["headless"], said["glx"], said["virtualgl"], said["qtapp"]) == (True, 2, False, qtapp)
    assert said["picture"] == ([] if qtapp else COLOURS)


@needs_virtualgl
@too_late
def test_virtualgl_is_left_out_where_it_comes_too_late(before: str, qtapp: str | None) -> None:
    """It would end the process."""
    code = f"""
{before}
info = anaheadless.setup_headless(force_virtualgl=True)
say(**told(info), fakers=libraries('faker'), preload=os.environ.get('LD_PRELOAD'))
"""
    said = answer(code)
    assert (said["headless"], said["glx"], said["virtualgl"], said["qtapp"]) == (True, 2, False, qtapp)
    assert (said["fakers"], said["preload"]) == ([], None)


APPLICATION = """
from PyQt5.QtWidgets import QApplication
app = QApplication([])
before = dict(os.environ)
info = tried(anaheadless.setup_headless, need_opengl=OPENGL)
same = dict(os.environ) == before
stopped = anaheadless.stop_headless()
say(info=info if isinstance(info, str) else told(info), same=same, keepers=os.environ.get('ANAHEADLESS_SESSION'))
"""


@pytest.mark.parametrize("need_opengl", [True, False])
def test_an_application_keeps_the_display_that_works(need_opengl: bool, regular: dict[str, str]) -> None:
    said = answer(APPLICATION.replace("OPENGL", str(need_opengl)), env=regular)
    assert (said["same"], said["keepers"]) == (True, None)
    info = said["info"]
    assert (info["headless"], info["qtapp"], info["virtual_display_proc"]) == (False, "QApp", None)
    assert info["display"] == info["original_display"] == regular["DISPLAY"]
    assert info["glx"] == (2 if need_opengl else None)
    assert info["renderer"] or not need_opengl


def test_an_application_keeps_the_display_of_a_virtual_display() -> None:
    """What virtual_display() gives its programs is a session as the launcher's is."""
    with anaheadless.virtual_display(bare()) as display:
        said = answer(APPLICATION.replace("OPENGL", "True"), env=display.environ)
    info = said["info"]
    assert (info["headless"], info["qtapp"], info["display"], info["glx"]) == (True, "QApp", display.display, 2)
    assert (info["backend"], info["renderer"]) == (display.backend, display.renderer)


def test_an_application_on_a_display_without_opengl_is_told_so() -> None:
    with regular_display(gl="none") as environ:
        said = answer(APPLICATION.replace("OPENGL", "True"), env=environ)
        assert "a QApplication exists already" in said["info"]
        assert "no GLX" in said["info"]
        assert said["same"] is True
        said = answer(APPLICATION.replace("OPENGL", "False"), env=environ)
        assert (said["info"]["headless"], said["info"]["glx"]) == (False, None)


@pytest.mark.parametrize("need_opengl", [True, False])
def test_an_application_on_a_display_that_has_gone_is_told_so(need_opengl: bool) -> None:
    code = f"""
    from PyQt5.QtWidgets import QApplication
    app = QApplication([])
    say(ready=True)
    sys.stdin.readline()
    before = dict(os.environ)
    words = tried(anaheadless.setup_headless, need_opengl={need_opengl})
    say(words=words, same=dict(os.environ) == before)
    os._exit(0)  # Qt would end it otherwise, sooner or later
    """
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with anaheadless.virtual_display(bare(), gl="none", shim=False) as display:
        keeping = psutil.Process(int(display.environ["ANAHEADLESS_SESSION"].partition(",")[2]))
        (server,) = keeping.children()
        command = [sys.executable, "-c", code_of(code)]
        with subprocess.Popen(command, text=True, env=display.environ, **streams) as process:  # type: ignore[call-overload]
            try:
                assert process.stdout.readline() == '{"ready": true}\n', process.stderr.read()
                server.kill()
                wait_until(lambda: not is_running(keeping), "the keeper has ended, too")
                output, errors = process.communicate("\n", timeout=PATIENCE)
            finally:
                process.kill()
    assert (process.returncode, errors) == (0, "")
    said = json.loads(output)
    assert said["words"].startswith("anaheadless: a QApplication exists already")
    assert display.display in said["words"]
    assert "no display" in said["words"]
    assert said["same"] is True


def test_an_application_that_needs_no_display_is_left_alone(tmp_path: Path) -> None:
    environ = bare(QT_QPA_PLATFORM="offscreen", XDG_RUNTIME_DIR=str(tmp_path))
    info = answer(APPLICATION.replace("OPENGL", "False"), env=environ)["info"]
    assert (info["headless"], info["qtapp"], info["display"], info["glx"]) == (False, "QApp", None, None)
    said = answer(APPLICATION.replace("OPENGL", "True"), env=environ)
    assert "DISPLAY is not set" in said["info"]
    assert said["same"] is True


# --- when it fails

# Other kinds of X servers, which may be installed here, are not tried.
FAILS = """
from anaheadless.x11.servers import choice, xvfb
choice.KINDS = (xvfb.KIND,)
before = dict(os.environ)
try:
    found = told(anaheadless.setup_headless(allow_virtualgl=False))
    error = None
except RuntimeError as caught:
    found, error = None, caught
same = dict(os.environ) == before
words = None if error is None else [type(error).__name__, str(error)]
anaheadless.stop_headless()
say(info=found, error=words, same=same, stopped=dict(os.environ) == before)
"""


def broken_library(tmp_path: Path) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": str(broken_gl(tmp_path / "lib", *BROKEN["crashes"][0]).parent)}


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (lacking_vendor, "libgallium-gone.so: cannot open shared object file"),
        (broken_library, "crashed: Segmentation fault"),
    ],
    ids=["no drivers", "broken libGL"],
)
def test_an_opengl_that_is_broken_is_said(
    breaks: Callable[[Path], dict[str, str]], words: str, counted: dict[str, str], tmp_path: Path
) -> None:
    said = answer(FAILS, env={**counted, **breaks(tmp_path)})
    assert said["info"] is None
    assert (said["same"], said["stopped"]) == (True, True)
    kind, text = said["error"]
    assert kind == "LaunchError"
    first, *details, hint = text.splitlines()
    assert first == "anaheadless: no OpenGL: nothing could be drawn"
    for candidate in "native", "mesa (chosen by libglvnd)":
        assert any(line.startswith(f"  | {candidate}: ") and words in line for line in details)
    assert any(line.startswith("  | DISPLAY is not set: ") for line in details)
    assert "setup_headless(need_opengl=False)" in hint
    assert count_servers(tmp_path) == 1
    wait_until(lambda: not processes_of(tmp_path), "nothing is left")


def test_after_a_failure_it_can_be_tried_again(counted: dict[str, str], tmp_path: Path) -> None:
    """Without OpenGL, or with what was missing."""
    said = answer(
        """
        failed = tried(anaheadless.setup_headless, allow_virtualgl=False)
        again = tried(anaheadless.setup_headless, allow_virtualgl=False)
        plain = anaheadless.setup_headless(need_opengl=False)
        del os.environ['LD_LIBRARY_PATH']
        anaheadless.stop_headless()
        say(failed=failed, again=again, plain=told(plain), last=told(anaheadless.setup_headless()))
        """,
        env={**counted, **lacking_vendor(tmp_path / "lib")},
    )
    assert said["failed"] == said["again"]
    assert said["failed"].startswith("anaheadless: no OpenGL")
    assert (said["plain"]["headless"], said["plain"]["glx"]) == (True, None)
    assert (said["last"]["headless"], said["last"]["glx"]) == (True, 2)
    assert count_servers(tmp_path) == 4


# How our own server may fail where the regular display does not: the lines of a stand-in for Xvfb, or none of it.
SERVERS: dict[str, tuple[str | None, str]] = {
    "without GLX": (f'exec {shutil.which("Xvfb")} "$@" -extension GLX', "no GLX: the X server has no GLX"),
    "fails": ("echo 'Fatal server error:' >&2; echo 'the moon is full' >&2; exit 1", "the moon is full"),
    "missing": (None, "apt-get install xvfb"),
}
failing_server = pytest.mark.parametrize(("lines", "words"), SERVERS.values(), ids=SERVERS)


@pytest.fixture
def interpreter(tmp_path: Path) -> dict[str, str]:
    """The environment for ``python`` in a folder of its own: Xvfb is looked for beside the interpreter, too."""
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "python").symlink_to(os.path.realpath(sys.executable))
    return {"PYTHONPATH": str(CHECKOUT), "PATH": f"{tmp_path}/bin"}


def answer_alone(tmp_path: Path, environ: dict[str, str]) -> dict[str, Any]:
    output = run("-c", code_of(FAILS), command=f"{tmp_path}/alone/python", env=environ)
    assert (output.returncode, output.stderr) == (0, ""), output
    said: dict[str, Any] = json.loads(output.stdout)
    return said


def stand_in_server(tmp_path: Path, lines: str | None) -> None:
    if lines is not None:
        write_program(tmp_path / "bin" / "Xvfb", f"echo $$ >>{tmp_path}/servers", lines)


@failing_server
def test_a_server_that_fails_is_quoted(
    lines: str | None, words: str, interpreter: dict[str, str], tmp_path: Path
) -> None:
    stand_in_server(tmp_path, lines)
    said = answer_alone(tmp_path, bare(**interpreter))
    assert said["info"] is None
    assert (said["same"], said["stopped"]) == (True, True)
    kind, text = said["error"]
    assert (kind, words in text) == ("LaunchError", True), text
    assert lines is None or count_servers(tmp_path) == 1
    assert processes_of(tmp_path) == []


@failing_server
def test_a_server_that_fails_leaves_a_regular_display_alone(
    lines: str | None, words: str, interpreter: dict[str, str], regular: dict[str, str], tmp_path: Path
) -> None:
    stand_in_server(tmp_path, lines)
    said = answer_alone(tmp_path, {**regular, **interpreter})
    assert (said["error"], said["same"], said["stopped"]) == (None, True, True)
    info = said["info"]
    assert (info["headless"], info["glx"], info["virtual_display_proc"]) == (False, 2, None)
    assert info["display"] == info["original_display"] == regular["DISPLAY"]
    assert info["renderer"]
    assert lines is None or count_servers(tmp_path) == 1
    wait_until(lambda: not processes_of(tmp_path), "nothing is left")


@pytest.mark.parametrize("executable", ["''", "None", "'/nonexistent/python'", "'/bin/false'"])
def test_it_works_in_an_embedded_interpreter_or_says_so(executable: str) -> None:
    """As in a program that embeds Python: it works, or it is said that it does not."""
    said = answer(
        f"""
        sys.executable = {executable}
        before = dict(os.environ)
        found = tried(anaheadless.setup_headless)
        failed = isinstance(found, str)
        say(words=found if failed else None, headless=not failed and found.headless, same=dict(os.environ) == before)
        """
    )
    if executable in ("''", "None"):
        assert (said["words"], said["headless"]) == (None, True)
    else:
        assert said["words"].startswith("anaheadless: ")
        assert said["same"] is True


# --- VirtualGL, the real one

VIRTUALGL = """
from anaheadless.opengl import rendercheck
before = dict(os.environ)
info = anaheadless.setup_headless(force_virtualgl=True)
again = anaheadless.setup_virtualGL()
drawn = picture(sys.argv[1])
child = subprocess.run([sys.executable, rendercheck.__file__], stdout=subprocess.PIPE, text=True).stdout
preload = os.environ.get('LD_PRELOAD')
anaheadless.stop_headless()
say(
    info=told(info), again=again, drawn=drawn, child=child, preload=preload, fakers=libraries('faker'),
    same=dict(os.environ) == before,
)
"""


@needs_virtualgl
@pytest.mark.parametrize("own", [None, "libm.so.6"])
def test_virtualgl_can_be_forced(own: str | None, tmp_path: Path) -> None:
    said = answer(VIRTUALGL, f"{tmp_path}/out.png", env=bare(**({"LD_PRELOAD": own} if own else {})))
    info = said["info"]
    assert (info["headless"], info["virtualgl"], info["backend"], info["glx"]) == (True, True, "virtualgl", 2)
    assert said["drawn"] == [f"xcb {info['renderer']}", *COLOURS]
    assert said["again"] is True
    assert "libvglfaker.so" in said["fakers"]
    preload = [os.path.basename(path) for path in said["preload"].split(":")]
    assert preload == ["libdlfaker.so", "libvglfaker.so", *([own] if own else [])]
    assert "result: drawn\n" in said["child"]
    assert "vendor: VirtualGL\n" in said["child"]
    assert said["same"] is True


@needs_virtualgl
def test_virtualgl_can_be_forbidden() -> None:
    code = "info = anaheadless.setup_headless(allow_virtualgl=False, force_virtualgl=True); say(**told(info))"
    said = answer(code)
    assert (said["headless"], said["virtualgl"], said["glx"]) == (True, False, 2)
