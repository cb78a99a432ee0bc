"""A launcher that stays in front, as PID 1 or because it was asked to, is in nobody's way, and leaves nothing."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.helpers import ANAHEADLESS, PATIENCE, PROGRAMS, SOCKETS, holding, is_running, run, wait_until
from tests.support.namespaces import in_namespaces, namespaces, needs_namespaces

BOTH = pytest.mark.parametrize("pid_1", [False, pytest.param(True, marks=needs_namespaces)], ids=["asked", "PID 1"])
SUPERVISED = ("--supervise", "--gl", "none")


def supervised(pid_1: bool, command: str, *words: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """``anaheadless COMMAND WORDS`` to its end, with the launcher in front."""
    if pid_1:
        return in_namespaces(ANAHEADLESS, command, "--gl", "none", *words, **settings)
    return run(command, *SUPERVISED, *words, **settings)


@contextmanager
def in_front(pid_1: bool, *words: str | Path) -> Iterator[tuple[subprocess.Popen[str], psutil.Process]]:
    """A Python program that has said "ready", and the launcher in front of it."""
    command = [*namespaces(), ANAHEADLESS, "run"] if pid_1 else [ANAHEADLESS, "run", "--supervise"]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--gl", "none", *words], text=True, **streams) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            front = psutil.Process(process.pid)
            yield process, front.children()[0] if pid_1 else front
        finally:
            process.kill()


@BOTH
@pytest.mark.parametrize(
    ("ending", "asked", "first"),
    [("exit 0", 0, 0), ("exit 3", 3, 3), ("exit 255", 255, 255)]
    + [(f"kill -{name} $$", -number, 128 + number) for name, number in (("TERM", 15), ("KILL", 9), ("SEGV", 11))],
)
def test_the_exit_status_is_the_programs(ending: str, asked: int, first: int, pid_1: bool) -> None:
    """PID 1 can't die of a signal of its own."""
    output = supervised(pid_1, "exec", "sh", "-c", f"echo said; {ending}")
    assert (output.returncode, output.stdout, output.stderr) == (first if pid_1 else asked, "said\n", "")


@BOTH
def test_a_program_that_is_not_started_is_said(pid_1: bool) -> None:
    for words, status, said in (
        (("/dev/null/gone",), 127, "not found"),
        (("--server-arg=-nonsense", "true"), 125, "-nonsense"),
    ):
        output = supervised(pid_1, "exec", *words)
        assert (output.returncode, output.stdout) == (status, "")
        assert output.stderr.count("anaheadless: ") == 1
        assert said in output.stderr


@BOTH
def test_every_signal_reaches_the_program_once(pid_1: bool) -> None:
    numbers = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTERM})
    with in_front(pid_1, PROGRAMS / "signals.py") as (process, front):
        assert process.stdout
        for number in (*numbers, signal.SIGTERM):
            front.send_signal(number)
            assert process.stdout.readline() == f"signal {int(number)}\n"
        assert process.communicate(timeout=PATIENCE) == ("", "")
        assert process.returncode == 7


@BOTH
def test_signals_do_what_they_do_by_default(pid_1: bool) -> None:
    """To PID 1 itself, nothing would."""
    with in_front(pid_1, "-c", "print('ready', flush=True); input()") as (process, front):
        front.terminate()
        assert process.wait(PATIENCE) == (143 if pid_1 else -signal.SIGTERM)


def test_an_ignored_sigchld_costs_no_status() -> None:
    """It stays ignored in the target."""

    def odd() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})

    code = "import signal; raise SystemExit(5 + (signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN))"
    assert run("run", *SUPERVISED, "-c", code, preexec_fn=odd).returncode == 6


@BOTH
def test_nothing_is_left_when_it_comes_back(pid_1: bool, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for _ in range(4):
        output = supervised(pid_1, "exec", "--log", log, "sh", "-c", "echo $DISPLAY")
        assert not (SOCKETS / f"X{output.stdout[1:-1]}").exists()
        assert "nothing is left" in log.read_text().splitlines()[-1]
        log.unlink()


def test_nothing_is_left_of_what_the_program_has_started() -> None:
    for number in signal.SIGTERM, signal.SIGKILL:
        with holding(*SUPERVISED) as session:
            assert session.target.ppid() == session.process.pid
            session.target.send_signal(number)
            assert session.process.wait(PATIENCE) == -number
            assert session.left() == []


def test_the_program_ends_with_the_launcher() -> None:
    with holding(*SUPERVISED) as session:
        session.process.kill()
        wait_until(lambda: not is_running(session.target), "the target is gone")
        session.wait_until_nothing_is_left()


def test_nothing_is_left_of_a_launcher_that_ends_before_the_program_starts(tmp_path: Path) -> None:
    """The target is not there yet: its child is the launcher still."""
    stand_in = tmp_path / "Xvfb"
    stand_in.write_text(
        f"#!/bin/sh\necho $$ $1 >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/started\nexec sleep 600\n"
    )
    stand_in.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for number in signal.SIGTERM, signal.SIGKILL:
        with subprocess.Popen([ANAHEADLESS, "exec", *SUPERVISED, "true"], env=environ) as process:
            wait_until((tmp_path / "started").exists, "the server is started")
            pid, display = (tmp_path / "started").read_text().split()
            server, socket = psutil.Process(int(pid)), SOCKETS / f"X{display[1:]}"
            process.send_signal(number)
            assert process.wait(PATIENCE) == -number
        if number == signal.SIGTERM:
            assert not is_running(server)
            assert not socket.exists()
        wait_until(lambda server=server: not is_running(server), "the server is gone")  # type: ignore[misc]
        wait_until(lambda socket=socket: not socket.exists(), "the socket is gone")  # type: ignore[misc]
        (tmp_path / "started").unlink()


def test_the_streams_are_the_programs_alone() -> None:
    """Who reads from it sees the end when the target closes it, not when the launcher goes."""
    code = "import os, sys; print('ready', flush=True); os.close(1); os.close(2); sys.stdin.read()"
    with in_front(False, "-c", code) as (process, _):
        for stream in process.stdout, process.stderr:
            assert stream
            assert select.select([stream], [], [], PATIENCE)[0]
            assert stream.read() == ""
        assert process.poll() is None
        process.communicate(timeout=PATIENCE)


@needs_namespaces
def test_orphans_are_reaped() -> None:
    code = """
        sh -c 'sh -c "echo \\$\\$; exec >&-; exit 0" & exit' >orphan
        while [ -e /proc/$(cat orphan) ]; do sleep 0.01; done; cat /proc/$PPID/comm
    """
    output = in_namespaces(
        ANAHEADLESS, "exec", "--gl", "none", "sh", "-c", code, setup="mount -t tmpfs none /mnt; cd /mnt"
    )
    assert (output.returncode, output.stdout, output.stderr) == (0, "anaheadless\n", "")


@BOTH
@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
def test_a_time_limit_holds(trap: str, pid_1: bool) -> None:
    words = ("--timeout", ".2", "--grace", ".2", "sh", "-c", f"{trap} while true; do sleep 0.05; done")
    number = signal.SIGKILL if trap else signal.SIGTERM
    assert supervised(pid_1, "exec", *words).returncode == (128 + number if pid_1 else -number)


@pytest.mark.parametrize("stopped", [False, True])
def test_list_and_stop_are_about_the_program(stopped: bool, tmp_path: Path) -> None:
    with holding(*SUPERVISED) as session:
        (line,) = [line for line in run("list").stdout.splitlines() if line.startswith(session.display)]
        assert line.split()[1] == str(session.target.pid) != str(session.process.pid)
        if stopped:
            session.target.suspend()
        assert run("screenshot", session.display, tmp_path / "picture.png").returncode == 0
        assert run("stop", session.display).returncode == 0
        assert session.process.wait(PATIENCE) == -signal.SIGTERM


@contextmanager
def on_terminal(*words: str | Path) -> Iterator[tuple[int, int]]:
    """A program on a terminal of its own: the PID of the launcher, and our end of the terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(ANAHEADLESS, [ANAHEADLESS, *map(str, words)])
    try:
        yield child, terminal
    finally:
        os.close(terminal)


def read_until(terminal: int, words: bytes) -> bytes:
    seen = b""
    while words not in seen:
        assert select.select([terminal], [], [], PATIENCE)[0], (words, seen)
        seen += os.read(terminal, 4096)
    return seen


def test_signals_of_the_terminal_come_once() -> None:
    """The terminal sends them to the target, too."""
    with on_terminal("run", *SUPERVISED, PROGRAMS / "signals.py") as (child, terminal):
        read_until(terminal, b"ready\r\n")
        seen = b""
        for typed, number in ((b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT), (b"\x1a", signal.SIGTSTP)):
            os.write(terminal, typed)
            seen += read_until(terminal, b"signal %d\r\n" % number)
        os.kill(child, signal.SIGTERM)
        seen += read_until(terminal, b"signal %d\r\n" % signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.WEXITSTATUS(status) == 7
    assert seen.count(b"signal ") == 4, seen


def test_the_end_of_the_terminal_ends_it() -> None:
    code = "import time; print('ready', flush=True); time.sleep(1000)"
    with on_terminal("run", *SUPERVISED, "-c", code) as (child, terminal):
        read_until(terminal, b"ready\r\n")
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGHUP
