"""The process that stays in front of the target: in a container, or where that is asked for."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NoReturn

from anaheadless.errors import LIMITS_HINT, LaunchError
from anaheadless.session import discovery
from anaheadless.system import processes

END_SECONDS = 5.0
SI_KERNEL = 0x80  # <asm-generic/siginfo.h>
PR_SET_DUMPABLE = 4  # <linux/prctl.h>

# The terminal sends these to its whole foreground group: the target gets them without our help.
_OF_THE_TERMINAL = (
    *(signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP),
    *(signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH),
)


def stay_in_front() -> Callable[[int], None]:
    """Fork: the child returns, to become the target; this process never returns.

    It passes on every signal that it gets, reaps whatever has become its child, waits until nothing is left of the
    session, and ends as the target did. The target shares its process group and terminal, as it would without it.

    :return: a function to call with the keeper's PID, once there is one.
    :raises LaunchError: no process is to be had.
    """
    front = os.getpid()
    # The kernel forgets a signal that is ignored, by PID 1's default too, but never one that is blocked.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    handling = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, there is no status to be had
    try:
        heard, told = os.pipe()
        child = os.fork()
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        raise LaunchError(f"can't start another process: {error.strerror}", hint=LIMITS_HINT) from error
    if child:
        _end_as_it_did(_supervise(child, heard))
    os.close(heard)
    processes.die_with(front)
    signal.signal(signal.SIGCHLD, handling)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def tell_keeper(pid: int) -> None:
        os.write(told, f"{pid} {processes.state(pid)[1]}".encode())

    return tell_keeper


def _supervise(child: int, heard: int) -> int:
    """Serve the *child* until it and its session have ended; return its status, as of wait(2)."""
    started = processes.state(child)[1]
    # A reader that waits for the end of a pipe waits for the target alone.
    os.chdir("/")
    processes.close_descriptors_except({heard})
    while True:
        got = signal.sigwaitinfo(signal.valid_signals())
        if got.si_signo == signal.SIGCHLD:
            for process, status in _changed():
                if process != child:
                    continue
                if os.WIFSTOPPED(status):
                    _stop(os.WSTOPSIG(status))
                    continue
                _await_end(os.read(heard, 64).decode().split(), child, started)
                return status
        elif got.si_code != SI_KERNEL or got.si_signo not in _OF_THE_TERMINAL:
            with suppress(PermissionError):  # it has become another user's: so whoever sent it would have been refused
                os.kill(child, got.si_signo)


def _changed() -> Iterator[tuple[int, int]]:
    """Yield every child that was stopped or has ended, which reaps it, and its status."""
    with suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            if not process:
                return
            yield process, status


def _stop(number: int) -> None:
    """Stop as the target has stopped, so that the shell sees it. A SIGSTOP is meant for the target alone."""
    if number != signal.SIGSTOP:
        _raise(number)
        signal.pthread_sigmask(signal.SIG_BLOCK, (number,))


def _await_end(said: Sequence[str], target: int, started: str) -> None:
    """Wait until the keeper has cleaned up, END_SECONDS at most.

    :param said: the keeper's PID and start time, or nothing: the launcher has ended before it knew.
    """
    deadline = time.monotonic() + END_SECONDS
    if not said:
        kept = (each for each in discovery.sessions() if (each.target, each.target_start) == (target, started))
        said = next(((str(each.keeper), processes.state(each.keeper)[1]) for each in kept), ())
    while said and time.monotonic() < deadline and processes.is_alive(int(said[0]), said[1]):
        time.sleep(0.005)


def _end_as_it_did(status: int) -> NoReturn:
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)  # one core is enough
    _raise(os.WTERMSIG(status))
    os._exit(128 + os.WTERMSIG(status))  # PID 1 does not die of itself


def _raise(number: int) -> None:
    """Do what signal *number* does by default, once: it may be pending already."""
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
