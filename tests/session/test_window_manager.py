"""A window manager that is asked for: there before the program's first line, and gone with its session."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.support.displays import virtual_display
from tests.support.helpers import (
    PATIENCE,
    Session,
    assert_refused,
    holding,
    is_running,
    log_lines,
    run,
    run_python,
    wait_until,
    write_program,
)

BARE = ("run", "--gl", "none")
ACTIVE = """\
from PyQt5.QtTest import QTest
from PyQt5.QtWidgets import QApplication, QWidget

app = QApplication([])
window = QWidget()
window.show()
print(QTest.qWaitForWindowActive(window, 30000))
"""
CHECK = ["xprop", "-root", "_NET_SUPPORTING_WM_CHECK"]
each_manager = pytest.mark.parametrize("name", ["focus", pytest.param("openbox", marks=pytest.mark.needs("openbox"))])


def window_manager(session: Session) -> psutil.Process:
    (found,) = [process for process in session.keeper.children() if process.pid != session.server.pid]
    return found


@each_manager
def test_windows_become_active(name: str) -> None:
    output = run(*BARE, "--wm", name, "-c", ACTIVE)
    assert (output.returncode, output.stdout) == (0, "True\n"), output


@each_manager
@pytest.mark.needs("xprop")
def test_it_is_there_before_the_program_s_first_line(name: str) -> None:
    for _ in range(5):
        output = run("exec", "--gl", "none", "--wm", name, *CHECK)
        assert "window id # 0x" in output.stdout, output
    assert "window id" not in run("exec", "--gl", "none", *CHECK).stdout, "none is the default"


@each_manager
def test_it_ends_with_the_session(name: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with holding("--gl", "none", "--wm", name, "--log", str(log)) as session:
        manager = window_manager(session)
        session.process.kill()
        session.process.wait(PATIENCE)
        wait_until(lambda: not is_running(manager), "it has ended")
    assert log_lines(log)[-1] == "nothing is left"


@each_manager
@pytest.mark.parametrize("who", ["keeper", "server"])
def test_it_ends_whoever_is_killed(name: str, who: str) -> None:
    with holding("--gl", "none", "--wm", name) as session:
        manager = window_manager(session)
        getattr(session, who).kill()
        wait_until(lambda: not is_running(manager), "it has ended")
        if who == "keeper":
            session.socket.unlink(missing_ok=True)
        session.process.kill()


def test_signals_to_every_process_do_not_end_it() -> None:
    with holding("--gl", "none", "--wm", "focus") as session:
        manager = window_manager(session)
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
            manager.send_signal(number)
        output = run_python("-c", ACTIVE, env=session.environ)
        assert (output.returncode, output.stdout) == (0, "True\n"), output
        assert is_running(manager)


def test_a_session_goes_on_without_it() -> None:
    with holding("--gl", "none", "--wm", "focus") as session:
        window_manager(session).kill()
        assert is_running(session.server)
        assert session.process.poll() is None


def test_a_program_that_ends_is_no_window_manager(tmp_path: Path) -> None:
    write_program(tmp_path / "manager", "echo no fonts; exit 1")
    output = run(*BARE, "--wm", str(tmp_path / "manager"), "-c", "")
    assert_refused(output, 125, "the window manager ended", "no fonts", "Choose another --wm")


def test_a_program_that_manages_nothing_is_not_waited_for_forever(tmp_path: Path) -> None:
    write_program(tmp_path / "manager", "exec sleep 1000")
    start = time.monotonic()
    output = run(*BARE, "--start-timeout", "3", "--wm", str(tmp_path / "manager"), "-c", "")
    assert_refused(output, 125, "the window manager was not ready in time", "it said nothing")
    assert time.monotonic() - start < PATIENCE


def test_a_window_manager_that_is_not_installed_is_refused() -> None:
    assert_refused(run(*BARE, "--wm", "no-such-manager", "-c", ""), 125, "no window manager no-such-manager", "focus")


def test_python_code_can_ask_for_it() -> None:
    with virtual_display(gl="none", wm="focus") as display:
        output = run_python("-c", ACTIVE, env={**os.environ, **display.environ})
        keeper = psutil.Process(int(display.environ["ANAHEADLESS_SESSION"].partition(",")[2]))
        assert len(keeper.children()) == 2
    assert output.stdout == "True\n", output
    wait_until(lambda: not is_running(keeper), "it has ended")
