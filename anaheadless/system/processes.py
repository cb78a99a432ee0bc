"""What the kernel says of processes, and does with them.

Part of the keeper, which stays for as long as its target: it imports next to nothing.
"""

from __future__ import annotations

import os
import select
import sys
import time

from anaheadless.system.light_stdlib import Record, signal, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
PIDFD_GET_INFO, PIDFD_INFO_EXIT = 0xC040FF0B, 8  # <linux/pidfd.h>


def is_alive(pid: int, start: str | None = None) -> bool:
    """Whether *pid* runs, and is the process that started at *start* (a PID is given out again one day)."""
    letter, started = state(pid)
    if start not in (None, started):
        return False
    # A process whose main thread has ended looks like a zombie while its other threads run on.
    return letter not in ("", "Z", "X") or (letter == "Z" and thread_count(pid) > 1)


def state(pid: int) -> tuple[str, str]:
    """State letter and start time (clock ticks since boot) of a process, proc(5); empty when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, spaces and parentheses too.
            fields = file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return "", ""
    return fields[0], fields[19]


class Process(Record):
    """A process that is not mistaken for another one that gets its number later.

    :param start: its start time, see :func:`state`.
    :param pidfd: a descriptor that stands for it, and shows its end even where /proc hides it (hidepid). None where
        there can be none: then number and start time have to do.
    """

    pid: int
    start: str
    pidfd: int | None

    def is_alive(self) -> bool:
        """Whether it runs; a process that only waits to be reaped does not."""
        if self.pidfd is not None:
            return not self.await_end(0)
        if state(self.pid)[0]:
            return is_alive(self.pid, self.start)
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # it is another user's by now
            pass
        return True

    def send(self, number: int) -> None:
        """Send it a signal; :raises ProcessLookupError: it has ended; :raises PermissionError: it is another user's."""
        if self.pidfd is not None and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(self.pidfd, number)
        elif self.is_alive():
            os.kill(self.pid, number)
        else:
            raise ProcessLookupError

    def await_end(self, seconds: float) -> bool:
        """Whether it ends within *seconds*."""
        if self.pidfd is not None:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            return bool(poll.poll(max(0.0, seconds) * 1000))
        deadline = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Close the descriptor."""
        if self.pidfd is not None:
            os.close(self.pidfd)


def open_process(pid: int) -> Process:
    """The process that has number *pid* now; close it when it is no longer needed.

    It may be another one than the caller means, with a reused number: check that after this call, not before.
    """
    pidfd = open_pidfd(pid)
    return Process(pid, state(pid)[1], pidfd)


def thread_count(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # gone; or forbidden; or a kernel, or a Python's build, before Linux 5.3
        return None


def is_running(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def has_failed(process: Process) -> bool:
    """Whether *process*, which has ended, left with another status than 0, as far as the kernel tells."""
    status = 0
    try:
        with open(f"/proc/{process.pid}/stat", "rb") as file:  # it is not reaped yet
            status = int(file.read().split()[-1])
    except OSError:
        if process.pidfd is not None:
            import fcntl  # only here: the keeper stays for hours

            info = bytearray(PIDFD_INFO_EXIT.to_bytes(8, sys.byteorder) + bytes(56))
            with suppress(OSError):  # before Linux 6.15
                fcntl.ioctl(process.pidfd, PIDFD_GET_INFO, info)
                if int.from_bytes(info[:8], sys.byteorder) & PIDFD_INFO_EXIT:
                    status = int.from_bytes(info[60:64], sys.byteorder)
    return status != 0


def end_with(parent: int) -> None:
    """Have the kernel kill this process, which *parent* has started, when that dies."""
    import ctypes  # not in the keeper, which stays for hours

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel knew whom to watch
        os._exit(1)


def close_descriptors_except(kept: set[int]) -> None:
    for descriptor in set(map(int, os.listdir("/proc/self/fd"))) - kept:
        with suppress(OSError):  # the one that listed the folder
            os.close(descriptor)


def environment_of(program: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What *program* is to have of *environ*."""
    # Meant for the target: the system's programs work with the system's libraries, and die of others.
    withheld = ("LD_LIBRARY_PATH",) if os.path.dirname(program) in ("/usr/bin", "/bin") else ()
    return {name: value for name, value in environ.items() if name not in withheld}
