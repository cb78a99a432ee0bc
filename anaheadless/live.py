"""The session that a process is in, as its keeper tells it: asked of the process table, never of a registry.

It runs in any target: on the standard library of Python 3.8 or newer.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping, Sequence

from anaheadless import keeper
from anaheadless.lean import Record


class Notes(Record):
    """What launcher and keeper know of a session.

    :param glx: 2: OpenGL has drawn; 1: GLX is advertised, no more is known; 0: there is none.
    :param backend: where OpenGL comes from, one of :data:`anaheadless.opengl.BACKENDS`.
    :param renderer: GL_RENDERER, or nothing.
    :param original_display: the launcher's own DISPLAY, or nothing.
    :param purpose: ``run``: the target is what the launcher became; ``start``: it is somebody's shell or job;
        ``display``: it is a program with a display of its own.
    :param remembered: the file that says so, where it was not proved for this session; see :mod:`anaheadless.memory`.
    :param server: the X server's PID, from the keeper; 0: it has not been started yet.
    """

    glx: int
    backend: str
    renderer: str = ""
    original_display: str = ""
    purpose: str = "display"
    remembered: str = ""
    server: int = 0

    def as_text(self) -> str:
        """A line for each, ``name: value``; but for the server, which is the keeper's to say."""
        said = {name: " ".join(str(value).split()) for name, value in self.as_dict().items() if name != "server"}
        return "".join(f"{name}: {text}\n" for name, text in said.items())


_WORDS = ("backend", "renderer", "original_display", "purpose", "remembered")


def parse_notes(text: str) -> Notes:
    """What :meth:`Notes.as_text` and the keeper have written; :raises ValueError: it was something else."""
    said = dict(line.partition(": ")[::2] for line in text.splitlines())
    try:
        words = {name: said[name] for name in _WORDS}
        return Notes(glx=int(said["glx"]), server=int(said.get("server", "0")), **words)
    except KeyError as missing:
        raise ValueError(f"there is no {missing} in these notes") from missing


class LiveSession(Record):
    """A session whose keeper is alive.

    :param target: the process that it lives as long as, and likewise its start time, see processes.state().
    :param notes: None while the launcher has nothing to say yet.
    """

    display: str
    keeper: int
    target: int
    target_start: str
    notes: Notes | None

    def is_run(self) -> bool:
        """Whether the target is what the launcher became."""
        return self.notes is not None and self.notes.purpose == "run"


def current(environ: Mapping[str, str]) -> LiveSession | None:
    """The session that *environ* names, or None where there is none, it has ended, or DISPLAY is another one."""
    match = re.fullmatch(r"(:\d{1,9}),(\d{1,9})", environ.get("ANAHEADLESS_SESSION", ""), re.ASCII)
    if not match or environ.get("DISPLAY", "").partition(".")[0] != match[1]:
        return None
    found = look(int(match[2]))
    return found if found is not None and found.display == match[1] else None


def sessions() -> list[LiveSession]:
    """All sessions of this user, by their displays."""
    found: dict[str, LiveSession] = {}
    for name in os.listdir("/proc"):
        session = look(int(name)) if name.isdecimal() else None
        # A keeper that is only starting is two processes for a moment.
        if session is not None and (session.notes is not None or session.display not in found):
            found[session.display] = session
    return sorted(found.values(), key=lambda session: int(session.display[1:]))


def look(pid: int) -> LiveSession | None:
    """The session that process *pid* keeps, or None where it keeps none, or is not ours."""
    try:
        # A keeper leads no process group, but looks just like what it forks, which is to be the server.
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid() or os.getpgid(pid) == pid:
            return None
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            call = parse_command(os.fsdecode(file.read()).split("\0"))
        return call and LiveSession(call[0], pid, call[1], call[2], _read_notes(pid))
    except OSError:
        return None


def parse_command(words: Sequence[str]) -> tuple[str, int, str] | None:
    """Display, target and its start time in the command line of a keeper, or None where it is none."""
    for place, word in enumerate(words[:-3]):
        display, target, start = words[place + 1 : place + 4]
        if os.path.basename(word) == os.path.basename(keeper.__file__):
            if re.fullmatch(r":\d{1,9}", display, re.ASCII) and re.fullmatch(r"\d{1,9}", target, re.ASCII):
                return display, int(target), start
            return None
    return None


def _read_notes(pid: int) -> Notes | None:
    """None while there are none yet; :raises OSError: there never will be: the process only looks like a keeper."""
    # Without blocking: such a process may have anything there.
    descriptor = os.open(f"/proc/{pid}/fd/{keeper.NOTES}", os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink:
            raise FileNotFoundError(errno.ENOENT, "these are no notes")
        return parse_notes(os.fsdecode(os.pread(descriptor, 1 << 16, 0)))
    except ValueError:
        return None
    finally:
        os.close(descriptor)
