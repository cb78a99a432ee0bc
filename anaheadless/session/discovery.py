"""Running sessions, as their keepers tell: found in the process table, never in a registry.

This runs in any target: on the standard library of Python 3.8 or newer.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress

from anaheadless.options import CANDIDATES, SERVERS
from anaheadless.session import protocol
from anaheadless.system import processes
from anaheadless.system.light_stdlib import Record

LIMIT = 1 << 16  # bytes of a status
PURPOSES = ("run", "map", "start", "display")


class SessionStatus(Record):
    """What launcher and keeper publish about a session.

    :param glx: 2: OpenGL has drawn; 1: the server advertises GLX; 0: it has no GLX.
    :param backend: where OpenGL comes from, one of :data:`anaheadless.options.CANDIDATES`, or ``none``.
    :param renderer: GL_RENDERER, or nothing.
    :param original_display: the launcher's own DISPLAY, or nothing.
    :param purpose: ``run``: the launcher became the target; ``map``: likewise, and the target runs one program after
        another; ``start``: the target is a shell or a CI job; ``display``: it is a program that has started a display.
    :param cache_file: where the OpenGL of this session comes from, or empty if it was probed; see
        :mod:`anaheadless.opengl.cache`.
    :param hardware: 1: a GPU has drawn; 0: software has, or nothing.
    :param server_kind: the kind of X server, one of :data:`anaheadless.options.SERVERS` but ``auto``.
    :param server_reason: why that kind was taken, in a few words.
    :param server: the X server's PID, from the keeper; 0: it has not been started yet.
    """

    glx: int
    backend: str
    renderer: str = ""
    original_display: str = ""
    purpose: str = "display"
    cache_file: str = ""
    hardware: int = 0
    server_kind: str = "xvfb"
    server_reason: str = ""
    server: int = 0

    def as_text(self) -> str:
        """Write a line for each field, ``name: value``, but for the server: the keeper writes that one."""
        said = {name: " ".join(str(value).split()) for name, value in self.as_dict().items() if name != "server"}
        return "".join(f"{name}: {text}\n" for name, text in said.items())


_WORDS = ("backend", "renderer", "original_display", "purpose", "cache_file")


def parse_status(text: str) -> SessionStatus:
    """Parse what :meth:`SessionStatus.as_text` and the keeper write; :raises ValueError: it is something else."""
    said = dict(line.partition(": ")[::2] for line in text.split("\n"))
    try:
        words = {name: said[name] for name in _WORDS}
        # Keepers of earlier versions publish nothing of these.
        words["server_kind"] = said.get("server_kind", SessionStatus.server_kind)
        words["server_reason"] = said.get("server_reason", "")
        hardware, server = (int(said.get(name, "0")) for name in ("hardware", "server"))
        notes = SessionStatus(glx=int(said["glx"]), hardware=hardware, server=server, **words)
    except KeyError as missing:
        raise ValueError(f"there is no {missing} in this status") from missing
    known = notes.backend in (*CANDIDATES, "none") and notes.purpose in PURPOSES and notes.server_kind in SERVERS[1:]
    if not (known and 0 <= notes.glx <= 2 and 0 <= notes.hardware <= 1 and 0 <= notes.server < 1 << 31):
        raise ValueError("this status makes no sense")
    return notes


class LiveSession(Record):
    """A session whose keeper is alive.

    :param keeper_start: the keeper's start time, see :func:`anaheadless.system.processes.state`; ``target_start``
        likewise.
    :param target: the process that it lives as long as.
    :param has_target: whether the target is alive.
    :param status: None while the launcher has published nothing yet.
    """

    display: str
    keeper: int
    keeper_start: str
    target: int
    target_start: str
    has_target: bool
    status: SessionStatus | None

    def is_run(self) -> bool:
        """Return whether the launcher became the target."""
        return self.status is not None and self.status.purpose in ("run", "map")

    def is_same(self, other: LiveSession | None) -> bool:
        """Return whether *other* is this very session, seen at another time."""
        return other is not None and (other.keeper, other.keeper_start) == (self.keeper, self.keeper_start)


def current(environ: Mapping[str, str]) -> LiveSession | None:
    """Return the session that *environ* names, or None: there is none, it has ended, or DISPLAY is another one."""
    match = re.fullmatch(r"(:\d{1,9}),(\d{1,9})", environ.get("ANAHEADLESS_SESSION", ""), re.ASCII)
    if not match or environ.get("DISPLAY", "").partition(".")[0] != match[1]:
        return None
    found = inspect_keeper(int(match[2]))
    return found if found is not None and found.display == match[1] else None


def sessions() -> list[LiveSession]:
    """Return all sessions of this user, by their displays."""
    found: dict[str, LiveSession] = {}
    each = (inspect_keeper(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    # A keeper that is only starting may be two processes. And a process that claims the display later is not believed.
    for session in sorted(filter(None, each), key=lambda each: (each.status is None, int(each.keeper_start))):
        found.setdefault(session.display, session)
    return sorted(found.values(), key=lambda session: int(session.display[1:]))


def inspect_keeper(pid: int) -> LiveSession | None:
    """Return the session that process *pid* keeps, or None: it keeps none, or is not ours."""
    try:
        # From here on, it is one and the same process. psutil would open each file by the PID anew.
        folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        # A setuid program has its caller's command line and descriptors: it may be made to look like a keeper. (This
        # first check is the quick one, for all processes of the machine.) A keeper leads no process group; what it
        # forks to become the server does, and looks just like it.
        if os.fstat(folder).st_uid != os.geteuid() or os.getpgid(pid) == pid:
            return None
        status = _read("status", folder)
        uids = re.search(r"^Uid:((?:\s+\d+){4})$", status, re.MULTILINE)
        call = parse_command(_read("cmdline", folder).split("\0"))
        if call is None or uids is None or set(map(int, uids[1].split())) != {os.geteuid()}:
            return None
        # In a container, what it calls its target is another process here.
        if re.search(r"^NSpid:\s+\d+\s+\d", status, re.MULTILINE):
            return None
        notes = _read_status(folder)
        start = _read("stat", folder).rpartition(")")[2].split()[19]
        return LiveSession(call[0], pid, start, *call[1:], _has_target(folder, *call[1:]), notes)
    except OSError:
        return None
    finally:
        os.close(folder)


def parse_command(words: Sequence[str]) -> tuple[str, int, str] | None:
    """Return display, target and its start time from the command line of a keeper, or None: it is none."""
    for place, word in enumerate(words[:-3]):
        display, target, start = words[place + 1 : place + 4]
        if os.path.basename(word) == protocol.KEEPER_FILE:
            if re.fullmatch(r":\d{1,9}", display, re.ASCII) and re.fullmatch(r"\d{1,9}", target, re.ASCII):
                return display, int(target), start
            return None
    return None


def _read(name: str, folder: int) -> str:
    """Read a file of a process whose *folder* in /proc is open."""
    with open(os.open(name, os.O_RDONLY, dir_fd=folder), "rb") as file:
        return os.fsdecode(file.read())


def _has_target(folder: int, target: int, start: str) -> bool:
    """Return whether the target is alive of a keeper whose *folder* in /proc is open."""
    with suppress(OSError):  # it has no pidfd
        # Where /proc hides the target (hidepid), the keeper's own descriptor still tells. -1: it has been reaped.
        match = re.search(r"^Pid:\s+(-?\d+)$", _read(f"fdinfo/{protocol.TARGET}", folder), re.MULTILINE)
        if match:
            return int(match[1]) == target and (processes.state(target)[0] == "" or processes.is_alive(target))
    return processes.is_alive(target, start)


def _read_status(folder: int) -> SessionStatus | None:
    """Read the status from a keeper whose *folder* in /proc is open; None: there is nothing yet.

    :raises OSError: there never will be: the process only looks like a keeper.
    """
    # Without blocking: such a process may have anything there.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    descriptor = os.open(f"fd/{protocol.STATUS}", flags, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink or status.st_uid != os.geteuid():
            raise FileNotFoundError(errno.ENOENT, "this is no status")
        return parse_status(os.fsdecode(os.pread(descriptor, LIMIT, 0)))
    except ValueError:
        return None
    finally:
        os.close(descriptor)
