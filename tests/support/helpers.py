"""What the tests share: starting the launcher, and waiting for conditions instead of sleeping."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from anaheadless.session.discovery import parse_command

SUPPORT = Path(__file__).parent
PROGRAMS = SUPPORT / "programs"
DOUBLES = SUPPORT / "doubles"
CHECKOUT = SUPPORT.parents[1]

BIN = Path(sys.executable).parent
ANAHEADLESS = str(BIN / "anaheadless")
SOCKETS = Path("/tmp/.X11-unix")

# Long enough for two busy cores; nothing that goes well ever waits for it.
PATIENCE = 30.0


def run(*args: str | bytes | Path, command: str = ANAHEADLESS, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run ``anaheadless ARGS`` to its end, with its output as text."""
    settings = {"capture_output": True, "text": True, "timeout": 60, "stdin": subprocess.DEVNULL, **settings}
    return subprocess.run([command, *args], **settings)


def run_python(*args: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGS`` to its end, with the interpreter of the tests."""
    return run(*args, command=sys.executable, **settings)


def assert_refused(output: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    assert (output.returncode, output.stdout) == (status, ""), output
    assert "Traceback" not in output.stderr
    for word in words:
        assert word in output.stderr, output.stderr


def gcc(*args: str | Path) -> None:
    """Compile something; without gcc, the test is skipped."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    subprocess.run(["gcc", *args], check=True)


def wait_until(condition: Callable[[], object], what: str = "condition", timeout: float = PATIENCE) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.005)


def remove_socket(number: int) -> None:
    """Remove the dead socket file of a display that was ours, unless the number is somebody else's by now."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as claim:
        claim.bind(f"\0{SOCKETS}/X{number}")
        (SOCKETS / f"X{number}").unlink(missing_ok=True)


class Session:
    """A running target that holds its session (tests/support/programs/hold.py), and what there is of it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"no session: {process.stderr.read() if process.stderr else process.wait(PATIENCE)}"
        self.facts: dict[str, Any] = json.loads(line)
        self.display: str = self.facts["display"]
        self.authority: str = self.facts["authority"]
        self.number = int(self.display[1:])
        self.target, self.keeper, self.server = (
            psutil.Process(self.facts[name]) for name in ("target", "keeper", "server")
        )

    @property
    def socket(self) -> Path:
        return SOCKETS / f"X{self.number}"

    @property
    def environ(self) -> dict[str, str]:
        return {**os.environ, "DISPLAY": self.display, "XAUTHORITY": self.authority}

    def left(self) -> list[str]:
        """Describe what is still there."""
        found = [str(process) for process in (self.keeper, self.server) if is_running(process)]
        found += [str(path) for path in (self.socket, Path(f"/tmp/.X{self.number}-lock")) if os.path.lexists(path)]
        with open("/proc/net/unix") as file:
            found += [line for line in file if line.rstrip().endswith(f"@/tmp/.X11-unix/X{self.number}")]
        return found

    def wait_until_nothing_is_left(self) -> None:
        wait_until(lambda: not self.left(), f"nothing left of {self.display}")


def write_program(path: Path, *lines: str) -> None:
    """Write a shell script that can be executed."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def processes_of(tmp_path: Path) -> list[psutil.Process]:
    """Return the processes that have ``bin`` of *tmp_path* on their PATH."""
    found = []
    for process in psutil.process_iter():
        try:
            if f"{tmp_path}/bin:" in process.environ().get("PATH", ""):
                found.append(process)
        except psutil.Error:
            continue
    return found


def count_servers(tmp_path: Path) -> int:
    """Count the servers of a stand-in for Xvfb that writes its PID into the file ``servers``."""
    started = tmp_path / "servers"
    return len(started.read_text().splitlines()) if started.exists() else 0


def keepers_of(target: int) -> list[psutil.Process]:
    """Return the keepers of the sessions of process *target*."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            call = parse_command(process.cmdline())
            if call is not None and call[1] == target:
                found.append(process)
    return found


def wrapped_xvfb(folder: Path, lines: str) -> dict[str, str]:
    """Return an environment with an Xvfb that does *lines* first."""
    program = folder / "Xvfb"
    program.write_text(f'#!/bin/sh\n{lines}\nexec {shutil.which("Xvfb")} "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def chosen_server() -> dict[str, str]:
    """Return the variable by which a test run chooses the kind of X server, for environments made from nothing."""
    return {name: value for name, value in os.environ.items() if name == "ANAHEADLESS_SERVER"}


def listed_sessions() -> dict[str, dict[str, object]]:
    """Return what ``anaheadless list`` shows, by display."""
    output = run("list", "--json")
    assert (output.returncode, output.stderr) == (0, "")
    return {row["session"]: row for row in json.loads(output.stdout)}


def log_lines(log: Path) -> list[str]:
    """Return the lines of a log without their times, and without the one that only a launch with a cache has."""
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d anaheadless: ", line) for line in lines), lines
    return [text for line in lines if (text := line.split(": ", 1)[1]) != "the next run will test OpenGL again"]


def shared_memory_of(process: psutil.Process) -> list[str]:
    """The System V segments that *process* has made, as /proc/sysvipc/shm shows them."""
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [line for line in lines if line.split()[4] == str(process.pid)]


def is_running(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class User:
    """An ordinary user, who can run a copy of anaheadless.

    :param settings: what subprocess has to be told.
    :param hold: their tests/support/programs/hold.py.
    """

    uid: int
    python: str
    settings: dict[str, Any]
    hold: str

    @property
    def anaheadless(self) -> list[str]:
        return [self.python, "-m", "anaheadless"]

    def run(self, *args: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """``anaheadless ARGS`` to its end."""
        _, *words = self.anaheadless
        return run(*words, *args, command=self.python, **self.settings, **settings)

    def left(self) -> list[str]:
        """Their processes and sockets."""
        found = [
            str(each) for each in psutil.process_iter() if owner(f"/proc/{each.pid}") == self.uid and is_running(each)
        ]
        return found + [str(path) for path in SOCKETS.iterdir() if owner(path) == self.uid]


def owner(path: str | Path) -> int | None:
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None


@contextmanager
def holding(*options: str, args: tuple[str, ...] = (), **settings: Any) -> Iterator[Session]:
    """A session with options for ``anaheadless run``, and *args* for hold.py; ended afterwards, and looked after."""
    command = [ANAHEADLESS, "run", *options, str(PROGRAMS / "hold.py"), *args]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with attended(subprocess.Popen(command, text=True, **{**streams, **settings})) as session:
        yield session


@contextmanager
def attended(process: subprocess.Popen[str]) -> Iterator[Session]:
    """The session that *process* reports; killed afterwards, and looked after."""
    with process:
        try:
            session = Session(process)
            yield session
        finally:
            process.kill()
    session.wait_until_nothing_is_left()


@contextmanager
def hanging(*options: str, pixel: int) -> Iterator[subprocess.Popen[str]]:
    """A target that has filled its screen, and then is stopped."""
    command = [ANAHEADLESS, "run", "--gl", "none", *options, str(PROGRAMS / "paint_root.py"), str(pixel)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "painted\n"
            process.send_signal(signal.SIGSTOP)
            yield process
        finally:
            process.kill()
