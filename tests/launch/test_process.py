"""The target is the process: what its parent sees, and what it sees itself, is what a direct call would give."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
from typing import Any

import pytest

from anaheadless.launch.environment import SHIM
from anaheadless.options import SESSION_VARIABLES
from tests.support.helpers import ANAHEADLESS, PATIENCE, PROGRAMS, holding, run, wait_until


def surroundings(*command: str, **settings: Any) -> dict[str, Any]:
    """What surroundings.py says when it is run by *command*."""
    settings = {"stdin": subprocess.DEVNULL, "timeout": 60, "check": True, **settings}
    output = subprocess.run([*command, PROGRAMS / "surroundings.py", "a", ""], stdout=subprocess.PIPE, **settings)
    return dict(json.loads(output.stdout))


def test_the_program_has_the_pid_of_the_launcher() -> None:
    with subprocess.Popen(
        [ANAHEADLESS, "run", "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE, text=True
    ) as process:
        output, _ = process.communicate(timeout=PATIENCE)
    assert int(output) == process.pid


@pytest.mark.parametrize("status", [0, 3, 255])
def test_the_exit_status_is_the_programs(status: int) -> None:
    assert run("run", "-c", f"raise SystemExit({status})").returncode == status


def test_a_death_by_signal_is_seen_as_one() -> None:
    assert run("run", "-c", "import os; os.kill(os.getpid(), 11)").returncode == -signal.SIGSEGV


@pytest.mark.needs("xdpyinfo")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_signals_reach_the_programs_own_handlers(name: str) -> None:
    with holding(args=(f"{name}=7",)) as session:
        session.process.send_signal(signal.Signals[name])
        output, errors = session.process.communicate(timeout=PATIENCE)
        assert (session.process.returncode, output, errors) == (7, "clean-up: display works\n", "")


@pytest.mark.parametrize("options", [(), ("--supervise",)])
def test_the_program_sees_what_it_would_see_in_a_direct_call(options: tuple[str, ...]) -> None:
    read, write = os.pipe()

    def odd() -> None:
        os.umask(0o137)
        os.nice(3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 1024))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    settings: dict[str, Any] = {"preexec_fn": odd, "pass_fds": (read, write), "cwd": "/", "stderr": subprocess.PIPE}
    direct = surroundings(sys.executable, **settings)
    launched = surroundings(ANAHEADLESS, "run", *options, **settings)
    os.close(read)
    os.close(write)
    for said in direct, launched:
        for number in "12":  # pipes of each call's own
            said["descriptors"].pop(number)
    assert launched["environ"].pop("PYTHONPATH") == SHIM
    assert (launched.pop("parent") == direct.pop("parent")) == (not options)
    assert launched == direct
    assert launched["children"] == "no children"


def test_the_c_locale_adds_no_variable() -> None:
    bare = {"PATH": "/usr/bin:/bin", "ODD": "a=b=\udcff", "EMPTY": ""}
    launched = subprocess.check_output([ANAHEADLESS, "exec", "env", "-0"], env=bare, timeout=60).split(b"\0")
    names = {entry.split(b"=")[0] for entry in launched if entry}
    session = {b"DISPLAY", b"XAUTHORITY", b"XDG_SESSION_TYPE", b"XDG_RUNTIME_DIR", *map(os.fsencode, SESSION_VARIABLES)}
    assert names == {b"PATH", b"ODD", b"EMPTY", b"PYTHONPATH"} | session
    assert b"ODD=a=b=\xff" in launched


@pytest.mark.uncounted  # the counter's file takes the place of the first of them
def test_closed_standard_streams_stay_closed() -> None:
    output = subprocess.run(
        [
            ANAHEADLESS,
            "exec",
            "sh",
            "-c",
            "for n in 0 1 2 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && echo $n; done >&2",
        ],
        preexec_fn=lambda: os.closerange(0, 2),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    # The shell keeps its own standard output, closed as it was, at 10.
    assert output.stderr.split() == ["1", "2"]


def test_broken_pipes_end_programs_quietly() -> None:
    output = run("run", "-c", "import subprocess; subprocess.run('yes | head -1', shell=True)")
    assert (output.stdout, output.stderr) == ("y\n", "")
    output = run("exec", "sh", "-c", "yes | head -1")
    assert (output.stdout, output.stderr) == ("y\n", "")


@pytest.mark.parametrize("options", [(), ("--supervise",)])
def test_no_signal_is_ignored_that_was_not(options: tuple[str, ...]) -> None:
    # By its path, for both calls to be of one kind: a C library that spawns ignores two signals of its own.
    command = [shutil.which("grep") or "grep", "Sig[IB]", "/proc/self/status"]
    assert run("exec", *options, *command).stdout == subprocess.check_output(command, text=True)


@pytest.mark.parametrize("option", ["", "--supervise"])
def test_a_terminal_can_suspend_and_continue_the_program(option: str) -> None:
    """^Z and fg: job control is the shell's and the terminal's, and nothing of ours is in the way."""
    program = "import sys; print('up', flush=True); sys.stdin.readline(); print('down', flush=True)"
    child, terminal = pty.fork()
    if child == 0:
        os.execvp("bash", ["bash", "--norc", "-i"])
    seen = b""

    def saw(text: bytes) -> bool:
        nonlocal seen
        with contextlib.suppress(BlockingIOError):
            seen += os.read(terminal, 4096)
        return text in seen

    os.set_blocking(terminal, False)
    try:
        for typed, answer in (
            (f'PS1="$ "; {ANAHEADLESS} run {option} -c "{program}"\n', b"up\r\n"),
            ("\x1a", b"Stopped"),
            ("fg\n", b"-c"),
            ("\n", b"down\r\n"),
            ("echo status=$?\n", b"status=0"),
        ):
            seen = b""
            os.write(terminal, typed.encode())
            wait_until(lambda answer=answer: saw(answer), f"{answer!r} after {typed!r}")  # type: ignore[misc]
        os.write(terminal, b"exit\n")
    finally:
        os.close(terminal)
        os.waitpid(child, 0)


def test_the_terminal_is_the_programs() -> None:
    controller, terminal = pty.openpty()
    try:
        launched = subprocess.run(
            [ANAHEADLESS, "exec", "tty"], stdin=terminal, stdout=subprocess.PIPE, text=True, timeout=60, check=True
        )
        assert launched.stdout.strip() == os.ttyname(terminal)
    finally:
        os.close(controller)
        os.close(terminal)
