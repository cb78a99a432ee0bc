"""The packages that provide programs and libraries, for each package manager.

``python -m anaheadless.packages [MANAGER]`` prints which are missing on this machine, see :data:`HELP`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence

from anaheadless.errors import USAGE, LaunchError, printable
from anaheadless.system.programs import find_program

INSTALL = {
    "apt": "apt-get install",
    "dnf": "dnf install",
    "apk": "apk add",
    "pacman": "pacman -S",
    "conda": "conda install -c conda-forge",
}
HELP = f"""\
usage: python3 -m anaheadless.packages [{" | ".join(INSTALL)}]

Prints the packages that are still missing here for displays, OpenGL and Qt.

With a package manager, it prints arguments for its install command, or nothing if nothing is missing:

    apt-get install $(python3 -m anaheadless.packages apt)

Without one, it prints the install command for each; the exit status is then 1 if anything is missing, else 0.
"""
# The same without questions, for `doctor --fix`.
_FIX = {
    "apt": ("apt-get install -y --no-install-recommends", "apt-get update"),
    "dnf": ("dnf install -y",),
    "apk": ("apk add",),
    "pacman": ("pacman -S --noconfirm",),
    "conda": ("conda install -y -c conda-forge",),
}
_PROGRAMS = {"apt": "apt-get", "dnf": "dnf", "apk": "apk", "pacman": "pacman"}

# A program on PATH, or a library by its soname; then the packages that provide it, in the order of INSTALL. Every run
# needs the first row, OpenGL the next ones, and Qt's xcb platform plugin the rest.
_TABLE = """
Xvfb                    xvfb                 xorg-x11-server-Xvfb xvfb                xorg-server-xvfb    xorg-xserver-xvfb
libGL.so.1              libgl1               libglvnd-glx         mesa-gl             libglvnd            libgl
libGLX_mesa.so.0        libglx-mesa0         mesa-libGL           mesa-gl             mesa                mesalib
libEGL.so.1             libegl1              libglvnd-egl         mesa-egl            libglvnd            libegl
libstdc++.so.6          libstdc++6           libstdc++            libstdc++           gcc-libs            libstdcxx-ng
libgcc_s.so.1           libgcc-s1            libgcc               libgcc              gcc-libs            libgcc-ng
libz.so.1               zlib1g               zlib                 zlib                zlib                zlib
libglib-2.0.so.0        libglib2.0-0         glib2                glib                glib2               libglib
libgthread-2.0.so.0     libglib2.0-0         glib2                glib                glib2               libglib
libfreetype.so.6        libfreetype6         freetype             freetype            freetype2           freetype
libfontconfig.so.1      libfontconfig1       fontconfig           fontconfig          fontconfig          fontconfig
libdbus-1.so.3          libdbus-1-3          dbus-libs            dbus-libs           dbus                dbus
libX11.so.6             libx11-6             libX11               libx11              libx11              xorg-libx11
libX11-xcb.so.1         libx11-xcb1          libX11-xcb           libx11              libx11              xorg-libx11
libxkbcommon.so.0       libxkbcommon0        libxkbcommon         libxkbcommon        libxkbcommon        libxkbcommon
libxkbcommon-x11.so.0   libxkbcommon-x11-0   libxkbcommon-x11     libxkbcommon-x11    libxkbcommon-x11    libxkbcommon
libxcb.so.1             libxcb1              libxcb               libxcb              libxcb              libxcb
libxcb-randr.so.0       libxcb-randr0        libxcb               libxcb              libxcb              libxcb
libxcb-render.so.0      libxcb-render0       libxcb               libxcb              libxcb              libxcb
libxcb-shape.so.0       libxcb-shape0        libxcb               libxcb              libxcb              libxcb
libxcb-shm.so.0         libxcb-shm0          libxcb               libxcb              libxcb              libxcb
libxcb-sync.so.1        libxcb-sync1         libxcb               libxcb              libxcb              libxcb
libxcb-xfixes.so.0      libxcb-xfixes0       libxcb               libxcb              libxcb              libxcb
libxcb-xinerama.so.0    libxcb-xinerama0     libxcb               libxcb              libxcb              libxcb
libxcb-xkb.so.1         libxcb-xkb1          libxcb               libxcb              libxcb              libxcb
libxcb-util.so.1        libxcb-util1         xcb-util             xcb-util            xcb-util            xcb-util
libxcb-icccm.so.4       libxcb-icccm4        xcb-util-wm          xcb-util-wm         xcb-util-wm         xcb-util-wm
libxcb-image.so.0       libxcb-image0        xcb-util-image       xcb-util-image      xcb-util-image      xcb-util-image
libxcb-keysyms.so.1     libxcb-keysyms1      xcb-util-keysyms     xcb-util-keysyms    xcb-util-keysyms    xcb-util-keysyms
libxcb-render-util.so.0 libxcb-render-util0  xcb-util-renderutil  xcb-util-renderutil xcb-util-renderutil xcb-util-renderutil
libxcb-cursor.so.0      libxcb-cursor0       xcb-util-cursor      xcb-util-cursor     xcb-util-cursor     xcb-util-cursor
"""
# Programs that a run can do without. A dash means that there is no package. For Fedora, ffmpeg is that of RPM Fusion:
# Fedora's own has no x264.
_OPTIONAL = """
Xwayland                xwayland             xorg-x11-server-Xwayland xwayland         xorg-xwayland       -
Xvnc                    tigervnc-standalone-server tigervnc-server-minimal tigervnc tigervnc            -
Xorg                    xserver-xorg-video-dummy xorg-x11-drv-dummy xf86-video-dummy  xf86-video-dummy     -
xkbcomp                 x11-xkb-utils        xkbcomp              xkbcomp             xorg-xkbcomp        xorg-xkbcomp
xdpyinfo                x11-utils            xdpyinfo             xdpyinfo            xorg-xdpyinfo       xorg-xdpyinfo
glxinfo                 mesa-utils           glx-utils            mesa-demos          mesa-utils          -
vglrun                  -                    VirtualGL            -                   virtualgl           -
x11vnc                  x11vnc               x11vnc               x11vnc              x11vnc              -
websockify              websockify           python3-websockify   websockify          websockify          -
novnc                   novnc                novnc                novnc               -                   -
ffmpeg                  ffmpeg               ffmpeg               ffmpeg              ffmpeg              ffmpeg
"""
# Where to get programs that a package manager may not have.
_ELSEWHERE = {"vglrun": "from the packages at https://virtualgl.org"}
_ROWS = [line.split() for line in (_TABLE + _OPTIONAL).splitlines() if line]
REQUIRED = [line.split()[0] for line in _TABLE.splitlines() if line]
PACKAGES = {name: dict(zip(INSTALL, packages)) for name, *packages in _ROWS}


def manager() -> str | None:
    """Return the package manager of this system, a key of :data:`INSTALL`."""
    search = os.get_exec_path()
    return next((name for name, program in _PROGRAMS.items() if find_program(program, search)), None)


def install_hint(*parts: str) -> str:
    """Say in a sentence how to install *parts* here, with a way that needs no root, if there is one."""
    found = manager()
    managers = [found, "conda"] if found else list(INSTALL)
    commands = [f"{INSTALL[name]} {packages}" for name in managers if (packages := names_for(parts, name))]
    what = "it" if len(parts) == 1 else "them"
    if commands:
        without_root = ", or without root: " if found else ", or "
        return f"Install {what}: {without_root.join(commands)}."
    elsewhere = ", or ".join(_ELSEWHERE[part] for part in parts if part in _ELSEWHERE)
    return f"Install {what} {elsewhere}." if elsewhere else "There is no package for it here."


def fix_commands(parts: Sequence[str]) -> list[list[str]]:
    """Return the commands that install *parts* here, if they are run one after the other.

    :raises LaunchError: there is no way to install them, or it needs another user.
    """
    search, found = os.get_exec_path(), manager()
    as_root = [] if os.geteuid() == 0 else ["sudo"] if find_program("sudo", search) is not None else None
    if "CONDA_PREFIX" in os.environ and find_program("conda", search) is not None:
        found, as_root = "conda", []
    names = names_for(parts, found).split() if found else []
    if not found or not names or as_root is None:
        why = "there is no sudo here, and you are not root" if names else "no package is known"
        raise LaunchError(f"can't install what is missing: {why}: {', '.join(parts)}", hint=install_hint(*parts))
    install, *before = _FIX[found]
    return [*([*as_root, *each.split()] for each in before), [*as_root, *install.split(), *names]]


def not_installed(program: str, search: Sequence[str]) -> LaunchError:
    """Return the error for a *program* that is in none of the folders *search*; its hint says how to install it."""
    return LaunchError(
        f"{program} is not installed, or not on PATH ({os.pathsep.join(search)})", hint=install_hint(program)
    )


def is_present(part: str) -> bool:
    if ".so." not in part:
        return find_program(part, os.get_exec_path()) is not None
    import ctypes  # only here: the launch path does not need it

    try:
        ctypes.CDLL(part)
    except OSError:
        return False
    return True


def names_for(parts: Iterable[str], manager_name: str) -> str:
    """List the packages of *parts*, each once, in order; leave out parts that have no package."""
    if manager_name == "dnf" and has_no_xvfb(_os_release()):
        parts = ["Xwayland" if part == "Xvfb" else part for part in parts]
    names = dict.fromkeys(PACKAGES[part][manager_name] for part in parts)
    return " ".join(name for name in names if name != "-")


def has_no_xvfb(os_release: str) -> bool:
    """Tell whether a system has no package of Xvfb, from its os-release(5): Enterprise Linux since version 10."""
    match = re.search(r'^PLATFORM_ID="?platform:el(\d+)', os_release, re.MULTILINE)
    return match is not None and int(match[1]) >= 10


def _os_release() -> str:
    try:
        with open("/etc/os-release", encoding="utf-8", errors="replace") as file:
            return file.read(1 << 16)
    except OSError:
        return ""


def is_needed(part: str) -> bool:
    """Tell whether *part* has to be installed; Xvfb has not, where there is another X server."""
    if is_present(part):
        return False
    from anaheadless.x11.servers.choice import KINDS
    from anaheadless.x11.servers.kind import find

    return part != "Xvfb" or not any(find(kind, os.environ) for kind in KINDS)


def missing() -> list[str]:
    """List what has to be installed here for displays, OpenGL and Qt."""
    return [part for part in REQUIRED if is_needed(part)]


def main(args: list[str]) -> int:
    """Print what is missing: arguments for the package manager in *args*, or a text for people."""
    if args and args[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if args and (args[0] not in INSTALL or args[1:]):
        given = printable(" ".join(args))
        print(f"{given}: not a known package manager\n\n{HELP}", end="", file=sys.stderr)
        return USAGE
    absent = missing()
    if args:
        print(names_for(absent, args[0]))
        return 0
    if absent:
        print("These are missing:", ", ".join(absent))
        for name, command in INSTALL.items():
            print(f"  {command} {names_for(absent, name)}")
    return 1 if absent else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
