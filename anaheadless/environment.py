"""The environment that the target gets: a pure function of the one we were given."""

from __future__ import annotations

from collections.abc import Mapping

# Where programs choose another window system than X by themselves. Kept when the first choice is X.
_PLATFORM_CHOICES = {"QT_QPA_PLATFORM": "xcb", "GDK_BACKEND": "x11"}


def build(
    base: Mapping[str, str], *, display: str, authority: str, keeper: int, runtime_folder: str | None
) -> dict[str, str]:
    """*base* with the session put in; all else is untouched.

    :param runtime_folder: what XDG_RUNTIME_DIR is to be, or None where it is good as it is.
    """
    environ = dict(base)
    environ.pop("WAYLAND_DISPLAY", None)
    for name, x11 in _PLATFORM_CHOICES.items():
        if not environ.get(name, x11).startswith(x11):
            del environ[name]
    environ.update(
        DISPLAY=display,
        XAUTHORITY=authority,
        XDG_SESSION_TYPE="x11",
        ANAHEADLESS_SESSION=f"{display},{keeper}",
    )
    if runtime_folder is not None:
        environ["XDG_RUNTIME_DIR"] = runtime_folder
    return environ


def parse_block(block: bytes) -> dict[str, str]:
    """The contents of ``/proc/PID/environ`` as :data:`os.environ` would hold them."""
    entries = block.decode("utf-8", "surrogateescape").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry[1:])
