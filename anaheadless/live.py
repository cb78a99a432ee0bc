"""The session that a process is in, as its keeper tells it: asked of the process table, never of a registry.

It runs in any target: on the standard library of Python 3.8 or newer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from anaheadless import keeper


@dataclass(frozen=True)
class Notes:
    """What the launcher knows of a session, and its keeper keeps.

    :param server: the X server's PID.
    :param glx: 2: OpenGL has drawn; 1: GLX is advertised, no more is known; 0: there is none.
    :param backend: where OpenGL comes from, one of :data:`anaheadless.opengl.BACKENDS`.
    :param renderer: GL_RENDERER, or nothing.
    :param original_display: the launcher's own DISPLAY, or nothing.
    """

    server: int
    glx: int
    backend: str
    renderer: str = ""
    original_display: str = ""

    def as_text(self) -> str:
        """A line for each, ``name: value``."""
        return "".join(f"{name}: {' '.join(str(value).split())}\n" for name, value in asdict(self).items())


def parse_notes(text: str) -> Notes:
    """What :meth:`Notes.as_text` has written; :raises ValueError: it was something else."""
    said = dict(line.partition(": ")[::2] for line in text.splitlines())
    try:
        return Notes(int(said["server"]), int(said["glx"]), said["backend"], said["renderer"], said["original_display"])
    except KeyError as missing:
        raise ValueError(f"there is no {missing} in these notes") from missing


@dataclass(frozen=True)
class LiveSession:
    """A session whose keeper is alive."""

    display: str
    keeper: int
    notes: Notes


def current(environ: Mapping[str, str]) -> LiveSession | None:
    """The session that *environ* names, or None where there is none, it has ended, or DISPLAY is another one."""
    match = re.fullmatch(r"(:\d+),(\d+)", environ.get("ANAHEADLESS_SESSION", ""), re.ASCII)
    if not match or environ.get("DISPLAY", "").partition(".")[0] != match[1]:
        return None
    display, pid = match[1], int(match[2])
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid() or not _keeps(pid, display):
            return None
        with open(f"/proc/{pid}/fd/{keeper.NOTES}", "rb") as file:
            return LiveSession(display, pid, parse_notes(os.fsdecode(file.read())))
    except (OSError, ValueError):
        return None


def _keeps(pid: int, display: str) -> bool:
    """Whether process *pid* has the command line of the keeper of *display*: a PID is given out again one day."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = os.fsdecode(file.read()).split("\0")
    name = os.path.basename(keeper.__file__)
    return any(os.path.basename(word) == name and after == display for word, after in zip(words, words[1:]))
