"""Starts what is measured, waits for it, and knows what is left of it: by PID, and by the names that it has said."""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
PATIENCE = 2.0
SOCKETS = Path("/tmp/.X11-unix")


@dataclass(frozen=True)
class Job:
    """A command, and a folder that is its own: for its standard output and error, its picture, and as its TMPDIR."""

    command: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path

    @property
    def said(self) -> str:
        return (self.folder / "out").read_text(errors="replace")

    @property
    def complaint(self) -> str:
        """The last line of standard error, without its numbers, so that the same is the same."""
        lines = (self.folder / "err").read_text(errors="replace").strip().splitlines()
        return re.sub(r"\d{2,}", "N", lines[-1])[:100] if lines else ""

    @property
    def display(self) -> str:
        """The number of the display that the program has said, or nothing."""
        match = re.search(r"^:(\d+) \d+$", self.said, re.MULTILINE)
        return match[1] if match else ""

    @property
    def target(self) -> int:
        """The PID that the program has said, or 0."""
        match = re.search(r"^\S* (\d+)$", self.said, re.MULTILINE)
        return int(match[1]) if match else 0


def adopt_orphans() -> None:
    """Whatever loses its parent becomes a child of this process: so what is left of a command is known by its PID."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def start(job: Job, stdin: int | None = None) -> int:
    """The PID; *stdin* is a descriptor, or /dev/null."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    return os.posix_spawn(
        job.command[0],
        job.command,
        job.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0) if stdin is None else (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(job.folder / "out"), flags, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, str(job.folder / "err"), flags, 0o600),
        ],
        setpgroup=0,  # a ^C is for the benchmark, which ends them
    )


def run_all(jobs: Sequence[Job], at_a_time: int, limit: float) -> tuple[float, list[str]]:
    """Run *jobs*, each for *limit* seconds at most.

    :return: seconds from the first one's start to the last one's end, and for each what went wrong, or nothing.
    """
    waiting = deque(enumerate(jobs))
    running: dict[int, tuple[int, int, float]] = {}
    failures = [""] * len(jobs)
    poll = select.poll()
    now = begin = time.perf_counter()
    while waiting or running:
        while waiting and len(running) < at_a_time:
            place, job = waiting.popleft()
            deadline = time.perf_counter() + limit
            pid = start(job)
            descriptor = os.pidfd_open(pid)
            running[descriptor] = place, pid, deadline
            poll.register(descriptor, select.POLLIN)
        patience = min(deadline for _, _, deadline in running.values()) - time.perf_counter()
        ended = [descriptor for descriptor, _ in poll.poll(max(0.0, patience) * 1000 + 1)]
        now = time.perf_counter()
        for descriptor in ended:
            place, pid, _ = running.pop(descriptor)
            poll.unregister(descriptor)
            os.close(descriptor)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status and not failures[place]:
                failures[place] = f"exit status {status}: {jobs[place].complaint}"
        for place, pid, deadline in running.values():
            if now > deadline:
                failures[place] = f"not within {limit:g} s"
                os.kill(pid, signal.SIGKILL)
    return now - begin, failures


def descendants(pid: int | None = None) -> list[int]:
    """All that this process (or *pid*) has started and that is still there, zombies too."""
    found = []
    pid = pid or os.getpid()
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children") as file:
                for child in map(int, file.read().split()):
                    found += [child, *descendants(child)]
    return found


def name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def reap() -> None:
    """Reap all that has ended; nobody waits for it any more."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def display_files(number: str) -> list[Path]:
    return [SOCKETS / f"X{number}", Path(f"/tmp/.X{number}-lock")]


def left(job: Job) -> set[str]:
    """What is left of a job that was ended, as words."""
    reap()
    found = {"the program" if pid == job.target else name_of(pid) for pid in descendants()} - {""}
    socket, lock = (file if job.display else Path("/nowhere") for file in display_files(job.display))
    found |= {word for word, path in (("socket", socket), ("lock", lock)) if os.path.lexists(path)}
    for entry in (job.folder / "tmp").iterdir():
        found.add("lock" if entry.name.endswith("-lock") else "folder" if entry.is_dir() else "file")
    return found


def wait_until(condition: Callable[[], object], limit: float = PATIENCE) -> float | None:
    """Seconds until it came true, or None."""
    begin = time.perf_counter()
    while not condition():
        if time.perf_counter() - begin > limit:
            return None
        time.sleep(0.0005)
    return time.perf_counter() - begin


def no_process_left() -> bool:
    reap()
    return not descendants()


def existing_display_files() -> set[str]:
    return {*map(str, SOCKETS.glob("X*")), *map(str, Path("/tmp").glob(".X*-lock"))}


def end_all(jobs: Sequence[Job], strangers: set[str], patience: float = PATIENCE) -> list[str]:
    """Leave nothing of *jobs*; *strangers* are files that were there before.

    :return: the names of the processes that had not ended by themselves within *patience* seconds.
    """
    wait_until(no_process_left, patience)
    names = [name_of(pid) for pid in descendants()]
    numbers = {job.display for job in jobs if job.display}
    for number in signal.SIGTERM, signal.SIGKILL:
        numbers |= _displays(descendants())
        for pid in descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if wait_until(no_process_left) is not None:
            break
    with open("/proc/net/unix") as file:
        bound = file.read().split()
    for path in (path for number in numbers for path in display_files(number)):
        if not {str(path), f"@{path}"} & {*bound} and str(path) not in strangers:
            with suppress(OSError):
                path.unlink()
    return names


def _displays(pids: Sequence[int]) -> set[str]:
    """The numbers of the X servers among *pids*, from their command lines and their locks."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            found |= set(re.findall(r"\0:(\d+)\0", Path(f"/proc/{pid}/cmdline").read_text(errors="replace")))
    for lock in Path("/tmp").glob(".X*-lock"):
        # Anybody may have put anything there, a FIFO too.
        with suppress(OSError, ValueError), open(lock, opener=_open_at_once) as file:
            if int(file.read(16)) in pids:
                found.add(lock.name[2:-5])
    return found


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


@contextmanager
def held(job: Job, limit: float) -> Iterator[tuple[int, BinaryIO]]:
    """A job that has said its display, if it could: its PID, and what to close so that its program ends."""
    read, write = os.pipe()
    with open(read, "rb") as stdin, open(write, "wb") as pipe:
        pid = start(job, stdin.fileno())
        stdin.close()
        wait_until(lambda: job.target or no_process_left(), limit)
        yield pid, pipe


def proportional_set(pid: int) -> float:
    """Memory in MiB; what it shares counts in parts."""
    match = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0
