"""The recording of a display: the command line of an installed ffmpeg, and how it runs beside a keeper."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Mapping
from typing import NoReturn

from anaheadless.errors import LaunchError
from anaheadless.session import protocol
from anaheadless.system import processes
from anaheadless.system.programs import find_program

FRAMES_PER_SECOND = 25
DEPTHS = (15, 16, 24)  # x11grab reads no other
NICENESS = 10

# The number of the system call shmget, by machine. <asm/unistd.h>
_SHMGET = {"x86_64": 29, "aarch64": 194, "riscv64": 194}
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2  # <linux/prctl.h>, <linux/seccomp.h>
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # <linux/bpf_common.h>
_ALLOW, _FAIL_WITH_ENOSYS = 0x7FFF0000, 0x00050026


def find(environ: Mapping[str, str]) -> str:
    """Find ffmpeg; :raises LaunchError: there is none, or no way to run it that keeps other users out."""
    machine = os.uname().machine
    if machine not in _SHMGET:
        raise LaunchError(
            f"--record does not work on this machine ({machine})", hint=f"It needs one of: {', '.join(_SHMGET)}."
        )
    search = os.get_exec_path(environ)
    program = find_program("ffmpeg", search)
    if program is None:
        from anaheadless import packages  # only here: a run that goes well has no need of it

        raise packages.not_installed("ffmpeg", search)
    return os.path.abspath(program)


def command(program: str, number: int, path: str) -> list[str]:
    """Build the command line of ffmpeg, *program*, to record display *number*; it ends with the absolute *path*."""
    return [
        *(program, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-y"),
        # One picture tells everything; ffmpeg would look at more, for most of a second.
        *("-f", "x11grab", "-probesize", "32", "-analyzeduration", "0", "-draw_mouse", "0"),
        *("-framerate", str(FRAMES_PER_SECOND), "-i", f":{number}"),
        # Every player and browser plays an even width and height.
        *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2,format=yuv420p"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-threads", "2"),
        # No table of contents at the end, but a fragment each half second: the file can be played whoever is killed.
        *("-movflags", "+empty_moov+default_base_moof", "-frag_duration", "500000", "-flush_packets", "1"),
        *("-f", "mp4", path),
    ]


def become(parent: str, authority: str, *words: str) -> NoReturn:
    """Execute ffmpeg by its command line *words*, as the child of process *parent*; see helpers.RECORDER_CODE.

    :param authority: the X authority file of the display.
    """
    # Its standard streams are set up; what else there is would be open for as long as it runs.
    processes.close_descriptors_except({0, 1, 2})
    # ffmpeg would obey them, when a batch system or service manager signals every process.
    signal.pthread_sigmask(signal.SIG_BLOCK, set(protocol.IGNORED_SIGNALS) - {protocol.FINISH})
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    processes.die_with(int(parent))
    _refuse_shared_memory()
    os.nice(NICENESS)
    environ = processes.environment_for(words[0], os.environ)
    os.execve(words[0], words, {**environ, "XAUTHORITY": authority})


def _refuse_shared_memory() -> None:
    """Make shmget() fail in this process, for good.

    ffmpeg gets its pictures through shared memory, in segments that every user of the machine may open; without, over
    the socket, which costs next to nothing more.
    """
    import ctypes

    steps = (
        (_LOAD, 0, 0, 0),  # the number of the call
        (_JUMP_IF_EQUAL, 0, 1, _SHMGET[os.uname().machine]),
        (_RETURN, 0, 0, _FAIL_WITH_ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
    )
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = struct.pack("HP", len(steps), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program):
        raise OSError(ctypes.get_errno(), "shared memory can't be refused (seccomp)")
