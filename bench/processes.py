"""The processes of the benchmark: how they are started and awaited, and what is left of them."""

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
    """A command, and its own folder, for its standard output and error, its picture and its temporary files."""

    command: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path

    @property
    def output(self) -> str:
        return (self.folder / "out").read_text(errors="replace")

    @property
    def last_error(self) -> str:
        """The last line of standard error, without its numbers, so that equal errors have equal texts."""
        lines = (self.folder / "err").read_text(errors="replace").strip().splitlines()
        return re.sub(r"\d{2,}", "N", lines[-1])[:100] if lines else ""

    @property
    def display(self) -> str:
        """The number of the display that the program has printed, or an empty string."""
        match = re.search(r"^:(\d+) \d+$", self.output, re.MULTILINE)
        return match[1] if match else ""

    @property
    def target(self) -> int:
        """The PID that the program has printed, or 0."""
        match = re.search(r"^\S* (\d+)$", self.output, re.MULTILINE)
        return int(match[1]) if match else 0


def adopt_orphans() -> None:
    """Make this process the parent of all orphans among its descendants, so that it finds what a command leaves."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def start(job: Job, stdin: int | None = None) -> int:
    """Start *job* and return its PID.

    :param stdin: a descriptor, or None for /dev/null.
    """
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
        setpgroup=0,  # a ^C is for the benchmark, which then ends the jobs
    )


def run_all(jobs: Sequence[Job], at_a_time: int, limit: float) -> tuple[float, list[str]]:
    """Run *jobs*, each for *limit* seconds at most.

    :return: seconds from the first start to the last end, and for each job what went wrong, or an empty string.
    """
    waiting = deque(enumerate(jobs))
    running: dict[int, tuple[int, int, float]] = {}
    failures = [""] * len(jobs)
    poll = select.poll()
    now = begin = time.perf_counter()
    while waiting or running:
        while waiting and len(running) < at_a_time:
            index, job = waiting.popleft()
            deadline = time.perf_counter() + limit
            pid = start(job)
            descriptor = os.pidfd_open(pid)
            running[descriptor] = index, pid, deadline
            poll.register(descriptor, select.POLLIN)
        patience = min(deadline for _, _, deadline in running.values()) - time.perf_counter()
        ended = [descriptor for descriptor, _ in poll.poll(max(0.0, patience) * 1000 + 1)]
        now = time.perf_counter()
        for descriptor in ended:
            index, pid, _ = running.pop(descriptor)
            poll.unregister(descriptor)
            os.close(descriptor)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if status and not failures[index]:
                failures[index] = f"exit status {status}: {jobs[index].last_error}"
        for index, pid, deadline in running.values():
            if now > deadline:
                failures[index] = f"not within {limit:g} s"
                os.kill(pid, signal.SIGKILL)
    return now - begin, failures


def descendants(pid: int | None = None) -> list[int]:
    """List the descendants of this process (or of *pid*) that still exist, including zombies."""
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
    """Reap all children that have ended; nothing else waits for them."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def display_files(number: str) -> list[Path]:
    return [SOCKETS / f"X{number}", Path(f"/tmp/.X{number}-lock")]


def leftovers(job: Job) -> set[str]:
    """Name what is left of a job that has been ended."""
    reap()
    found = {"the program" if pid == job.target else name_of(pid) for pid in descendants()} - {""}
    socket, lock = (file if job.display else Path("/nowhere") for file in display_files(job.display))
    found |= {word for word, path in (("socket", socket), ("lock", lock)) if os.path.lexists(path)}
    for entry in (job.folder / "tmp").iterdir():
        found.add("lock" if entry.name.endswith("-lock") else "folder" if entry.is_dir() else "file")
    return found


def wait_until(condition: Callable[[], object], limit: float = PATIENCE) -> float | None:
    """Wait until *condition* is true; return the seconds that it took, or None if it took too long."""
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


def end_all(jobs: Sequence[Job], existing_files: set[str], patience: float = PATIENCE) -> list[str]:
    """End all processes of *jobs*, and remove their files.

    :param existing_files: files that existed before, and stay.
    :return: the names of the processes that did not end by themselves within *patience* seconds.
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
        if not {str(path), f"@{path}"} & {*bound} and str(path) not in existing_files:
            with suppress(OSError):
                path.unlink()
    return names


def _displays(pids: Sequence[int]) -> set[str]:
    """Find the display numbers of the X servers among *pids*, from their command lines and lock files."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            found |= set(re.findall(r"\0:(\d+)\0", Path(f"/proc/{pid}/cmdline").read_text(errors="replace")))
    for lock in Path("/tmp").glob(".X*-lock"):
        # Another user may have made a file of any type there, even a FIFO.
        with suppress(OSError, ValueError), open(lock, opener=_open_nonblocking) as file:
            if int(file.read(16)) in pids:
                found.add(lock.name[2:-5])
    return found


def _open_nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


@contextmanager
def started(job: Job, limit: float) -> Iterator[tuple[int, BinaryIO]]:
    """Start *job* and wait until its program has printed its display, or has failed.

    :return: its PID, and a pipe that makes the program end when it is closed.
    """
    read, write = os.pipe()
    with open(read, "rb") as stdin, open(write, "wb") as pipe:
        pid = start(job, stdin.fileno())
        stdin.close()
        wait_until(lambda: job.target or no_process_left(), limit)
        yield pid, pipe


def proportional_set(pid: int) -> float:
    """Return the memory of a process in MiB, with its part of what it shares."""
    match = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) / 1024 if match else 0.0
