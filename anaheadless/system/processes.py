"""Processes, as the kernel shows and handles them.

The keeper imports this. It stays in memory as long as the target, so this module imports next to nothing.

psutil could replace some of these functions, but every launch would wait for its import, and every keeper would hold it
in memory. It also knows a process by PID and start time only: between its check and its signal, the PID may become
another process's. A pidfd has no such gap. Commands that only describe processes do use psutil.
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
LIKELY_DESCRIPTORS = 1024
PIDFD_GET_INFO, PIDFD_INFO_EXIT = 0xC040FF0B, 8  # <linux/pidfd.h>


def is_alive(pid: int, start: str | None = None) -> bool:
    """Tell whether *pid* runs, and is the process that started at *start*: the kernel reuses PIDs."""
    letter, started = state(pid)
    if start not in (None, started):
        return False
    # If only the main thread of a process has ended, the process looks like a zombie.
    return letter not in ("", "Z", "X") or (letter == "Z" and thread_count(pid) > 1)


def state(pid: int) -> tuple[str, str]:
    """Return state letter and start time (clock ticks since boot) of a process, see proc(5); empty if it has gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold any character, spaces and parentheses included.
            fields = file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return "", ""
    return fields[0], fields[19]


class Process(Record):
    """A process that can't be mistaken for another one that gets its PID later.

    :param start: its start time, see :func:`state`.
    :param pidfd: a descriptor that refers to the process, and shows its end even if /proc hides it (hidepid). None if
        the kernel has no pidfds: then PID and start time identify the process.
    """

    pid: int
    start: str
    pidfd: int | None

    def is_alive(self) -> bool:
        """Tell whether the process runs; one that only waits to be reaped does not."""
        if self.pidfd is not None:
            return not self.await_end(0)
        if state(self.pid)[0]:
            return is_alive(self.pid, self.start)
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # another user's process has the PID by now
            pass
        return True

    def send(self, number: int) -> None:
        """Send a signal to the process.

        :raises ProcessLookupError: it has ended.
        :raises PermissionError: it is another user's.
        """
        if self.pidfd is not None and hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(self.pidfd, number)
        elif self.is_alive():
            os.kill(self.pid, number)
        else:
            raise ProcessLookupError

    def await_end(self, seconds: float) -> bool:
        """Wait for the process to end; return whether it ended within *seconds*."""
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
    """Open the process that has the PID *pid* now; the caller has to close it.

    It may be another process than the caller means, if the PID has been reused: check that after this call, not before.
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
    except (OSError, AttributeError):  # it has gone; or forbidden; or kernel or Python are older than Linux 5.3
        return None


def is_running(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def has_failed(process: Process) -> bool:
    """Tell whether *process*, which has ended, had an exit status other than 0, as far as the kernel shows it."""
    status = 0
    try:
        with open(f"/proc/{process.pid}/stat", "rb") as file:  # only as long as it is not reaped
            status = int(file.read().split()[-1])
    except OSError:
        if process.pidfd is not None:
            import fcntl  # only here: the keeper stays in memory for hours

            info = bytearray(PIDFD_INFO_EXIT.to_bytes(8, sys.byteorder) + bytes(56))
            with suppress(OSError):  # before Linux 6.15
                fcntl.ioctl(process.pidfd, PIDFD_GET_INFO, info)
                if int.from_bytes(info[:8], sys.byteorder) & PIDFD_INFO_EXIT:
                    status = int.from_bytes(info[60:64], sys.byteorder)
    return status != 0


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process the signal *number* when *parent*, which has started it, dies."""
    import ctypes  # only here: the keeper stays in memory for hours

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:  # it died before the call
        os._exit(1)


def close_descriptors_except(kept: set[int]) -> None:
    try:
        found = set(map(int, os.listdir("/proc/self/fd")))
    except OSError:  # the target may have mounted something over /proc already
        found = set(range(LIKELY_DESCRIPTORS))
    for descriptor in found - kept:
        with suppress(OSError):  # it is closed already, as the one that listed the folder
            os.close(descriptor)


def environment_for(program: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of *environ* that *program* gets."""
    # LD_LIBRARY_PATH is meant for the target. The system's own programs need the system's libraries, and may crash with
    # others.
    withheld = ("LD_LIBRARY_PATH",) if os.path.dirname(program) in ("/usr/bin", "/bin") else ()
    return {name: value for name, value in environ.items() if name not in withheld}
