"""The machine that the faults are done on: its folders, processes and users, and what there is on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.helpers import chosen_server

CHECKOUT = Path(__file__).resolve().parents[3]
PROGRAMS = CHECKOUT / "tests" / "support" / "programs"
WORK = Path("/mnt")  # ours: homes, caches, and what was said
SHARED = [Path(name) for name in ("/tmp", "/var/lib/xkb", "/dev/shm") if os.path.isdir(name)]
SOCKETS = Path("/tmp/.X11-unix")
PATIENCE = 30.0


def namespaces() -> list[str]:
    """What to put in front of a command for it to run on a machine of its own."""
    root = () if os.geteuid() == 0 else ("-r",)
    return ["unshare", *root, "-m", "-p", "-n", "-i", "-f", "--kill-child", "--mount-proc"]


def furnish() -> None:
    """Mount folders that nobody else sees, with the checkout and the interpreter where they were."""
    os.chdir("/")
    mount("-t", "tmpfs", "-o", "mode=1777", "trust", str(WORK))
    for place in sorted({str(CHECKOUT), sys.prefix, sys.base_prefix}):
        inside = WORK / os.path.relpath(place, "/tmp")
        if place.startswith("/tmp/") and not inside.exists():
            inside.mkdir(parents=True)
            mount("--rbind", place, str(inside))
    mount("--rbind", str(WORK), "/tmp")
    for folder in SHARED[1:]:
        mount("-t", "tmpfs", "-o", "mode=1777", "trust", str(folder))
    mount("-t", "tmpfs", "-o", "mode=0755", "trust", str(WORK))


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def go_on_as_a_child() -> None:
    """Leave PID 1 to a process that reaps what is orphaned, and ends as we do."""
    child = os.fork()
    ended = 0
    while child and ended != child:
        ended, status = os.wait()
    if child:
        os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def files() -> set[str]:
    """All that a session could leave: files, abstract sockets, System V memory."""
    found = set()
    for top in (*SHARED, *WORK.glob("run-*")):
        device = top.stat().st_dev
        for folder, names, others in os.walk(top):
            names[:] = [name for name in names if os.lstat(f"{folder}/{name}").st_dev == device]
            found |= {f"{folder}/{name}" for name in (*names, *others)}
    for line in Path("/proc/net/unix").read_text().splitlines():
        if line.split()[-1].startswith("@"):
            found.add(line.split()[-1])
    memory = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return found | {f"System V memory {line.split()[1]}" for line in memory}


class Process(NamedTuple):
    pid: int
    name: str
    state: str
    parent: int
    group: int
    session: int


def pids() -> set[int]:
    return set(map(int, filter(str.isdecimal, os.listdir("/proc"))))


def processes() -> dict[int, Process]:
    """All that live."""
    found = {}
    for pid in pids():
        with suppress(OSError):
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            name, _, rest = text.partition(" (")[2].rpartition(") ")
            state, *numbers = rest.split()[:4]
            if state not in "ZX":
                found[pid] = Process(pid, name, state, *map(int, numbers))
    return found


def home_of(pid: int) -> str:
    with suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"HOME="):
                return os.fsdecode(variable[5:])
    return ""


def command_of(pid: int) -> str:
    with suppress(OSError):
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))[:200]
    return "?"


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.003)
    return True


class User(NamedTuple):
    """Who starts sessions.

    :param python: an interpreter that they may run.
    :param path: where it finds anaheadless, and there is the witness; or empty: as we do.
    """

    uid: int
    python: str
    path: str = ""

    def witness(self) -> str:
        return os.path.join(self.path or PROGRAMS, "witness.py")

    def anaheadless(self, *words: str) -> list[str]:
        return [self.python, "-m", "anaheadless", *words]

    def folder(self, name: str) -> Path:
        path = WORK / f"{name}-{self.uid}"
        if not path.exists():
            path.mkdir(0o700)
            os.chown(path, self.uid, self.uid)
        return path

    def environ(self, home: Path, cache: Path, with_runtime_folder: bool) -> dict[str, str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CACHE_HOME": str(cache)}
        environ["PYTHONDONTWRITEBYTECODE"] = "1"
        environ.update(chosen_server())
        if self.path:
            environ["PYTHONPATH"] = self.path
        if with_runtime_folder:
            environ["XDG_RUNTIME_DIR"] = str(self.folder("run"))
        return environ

    def start(self, command: list[str], **settings: Any) -> subprocess.Popen[bytes]:
        if self.uid != os.geteuid():
            settings.update(user=self.uid, group=self.uid, extra_groups=[])
        return subprocess.Popen(command, **{"cwd": "/", **settings})

    def call(self, *words: str, with_runtime_folder: bool = False) -> subprocess.Popen[bytes]:
        """Start ``anaheadless WORDS``, whatever comes of it."""
        environ = self.environ(self.folder("home"), self.folder("cache"), with_runtime_folder)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        return self.start(self.anaheadless(*words), env=environ, **streams)


def ourselves() -> User:
    return User(os.geteuid(), sys.executable)


def everybody() -> list[User]:
    """Root and two others, with a copy that all of them can run; nobody where no interpreter can be had for that."""
    import click
    import psutil

    import anaheadless

    copy = WORK / "copy"
    for package in anaheadless, click, psutil:
        source = Path(str(package.__file__)).parent
        shutil.copytree(source, copy / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROGRAMS / "witness.py", copy)
    for python in sys.executable, "/usr/bin/python3":
        users = [User(uid, python, str(copy)) for uid in (0, 54321, 54322)]
        with suppress(OSError):
            if users[1].call("--version").wait() == 0:
                return users
    return []


class Stranger:
    """A process that is nobody's business. It blocks all signals: each that comes is there to be seen."""

    def __init__(self, user: User) -> None:
        def deaf() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

        self.process = user.start(["sleep", "1000"], preexec_fn=deaf)

    def state(self) -> str:
        """What has been done to it, or nothing."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":\t", 1) for line in lines)
        pending = [fields[name] for name in ("SigPnd", "ShdPnd") if int(fields.get(name, "0"), 16)]
        return f"{fields['State']} {pending}" if pending or fields["State"][0] not in "RSD" else ""

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def take_over(pid: int, user: User) -> Stranger | None:
    """A stranger that has the number of a process that has ended; None where somebody else was faster."""
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(pid - 1))
    stranger = Stranger(user)
    if stranger.process.pid == pid:
        return stranger
    stranger.end()
    return None
