"""Which package brings a tool or a library, on the systems that people have.

``python -m anaheadless.packages`` prints what is missing here, as the system's package manager calls it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from anaheadless.target import find_program

# A package manager's own name for a package is looked up under these; the commands say how one installs.
INSTALL = {
    "apt": "apt-get install --no-install-recommends",
    "dnf": "dnf install",
    "apk": "apk add",
    "pacman": "pacman -S",
    "conda": "conda install",
}
_PROGRAMS = {"apt": "apt-get", "dnf": "dnf", "apk": "apk", "pacman": "pacman"}


@dataclass(frozen=True)
class Part:
    """A program on PATH, or a library by its soname, and the packages that bring it.

    :param required: without it nothing works; the others serve Qt's programs, or the curious.
    """

    name: str
    apt: str
    dnf: str
    apk: str
    pacman: str
    conda: str
    required: bool = False

    @property
    def is_library(self) -> bool:
        return ".so." in self.name

    def is_present(self) -> bool:
        if not self.is_library:
            return find_program(self.name, os.get_exec_path()) is not None
        try:
            ctypes.CDLL(self.name)
        except OSError:
            return False
        return True


# fmt: off
PARTS = {
    part.name: part
    for part in (
        Part("Xvfb", "xvfb", "xorg-x11-server-Xvfb", "xvfb", "xorg-server-xvfb", "xorg-xserver-xvfb", required=True),
        Part("libGL.so.1", "libgl1", "libglvnd-glx", "mesa-gl", "libglvnd", "libgl"),
        Part("libGLX_mesa.so.0", "libglx-mesa0", "mesa-libGL", "mesa-gl", "mesa", "mesalib"),
        Part("libEGL.so.1", "libegl1", "libglvnd-egl", "mesa-egl", "libglvnd", "libegl"),
        Part("libglib-2.0.so.0", "libglib2.0-0", "glib2", "glib", "glib2", "libglib"),
        Part("libfontconfig.so.1", "libfontconfig1", "fontconfig", "fontconfig", "fontconfig", "fontconfig"),
        Part("libdbus-1.so.3", "libdbus-1-3", "dbus-libs", "dbus-libs", "dbus", "dbus"),
        Part("libX11-xcb.so.1", "libx11-xcb1", "libX11-xcb", "libx11", "libx11", "xorg-libx11"),
        Part("libxkbcommon-x11.so.0", "libxkbcommon-x11-0", "libxkbcommon-x11", "libxkbcommon-x11",
             "libxkbcommon-x11", "libxkbcommon"),
        Part("libxcb-randr.so.0", "libxcb-randr0", "libxcb", "libxcb", "libxcb", "libxcb"),
        Part("libxcb-shape.so.0", "libxcb-shape0", "libxcb", "libxcb", "libxcb", "libxcb"),
        Part("libxcb-sync.so.1", "libxcb-sync1", "libxcb", "libxcb", "libxcb", "libxcb"),
        Part("libxcb-xfixes.so.0", "libxcb-xfixes0", "libxcb", "libxcb", "libxcb", "libxcb"),
        Part("libxcb-xinerama.so.0", "libxcb-xinerama0", "libxcb", "libxcb", "libxcb", "libxcb"),
        Part("libxcb-icccm.so.4", "libxcb-icccm4", "xcb-util-wm", "xcb-util-wm", "xcb-util-wm", "xcb-util-wm"),
        Part("libxcb-image.so.0", "libxcb-image0", *["xcb-util-image"] * 4),
        Part("libxcb-keysyms.so.1", "libxcb-keysyms1", *["xcb-util-keysyms"] * 4),
        Part("libxcb-render-util.so.0", "libxcb-render-util0", *["xcb-util-renderutil"] * 4),
        Part("libxcb-cursor.so.0", "libxcb-cursor0", *["xcb-util-cursor"] * 4),
    )
}
# fmt: on


def manager() -> str | None:
    """The package manager of the system at hand, a key of :data:`INSTALL`."""
    return next((name for name, program in _PROGRAMS.items() if find_program(program, os.get_exec_path())), None)


def install_hint(name: str) -> str:
    """How to get the part *name* here, as a sentence; with the way that needs no root."""
    found = manager()
    names = [found, "conda"] if found else list(INSTALL)
    commands = [f"{INSTALL[name_]} {getattr(PARTS[name], name_)}" for name_ in names]
    return f"Install it: {commands[0]} (or {', '.join(commands[1:])})."


def missing() -> list[Part]:
    return [part for part in PARTS.values() if not part.is_present()]


def names_for(parts: Iterable[Part], manager_name: str) -> str:
    """The packages of *parts*, each once, in order."""
    return " ".join(dict.fromkeys(getattr(part, manager_name) for part in parts))


def main() -> None:
    absent = missing()
    if not absent:
        return
    if manager() == "apt":
        print(names_for(absent, "apt"))
        return
    commands = [f"  {command} {names_for(absent, name)}" for name, command in INSTALL.items()]
    sys.exit("\n".join(["These are missing, and only apt-get is known well enough to install them:", *commands]))


if __name__ == "__main__":
    main()
