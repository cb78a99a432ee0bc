"""The cache of results of probes: a later run uses a result if nothing has changed that it depends on.

Each result is a small file in ``$XDG_CACHE_HOME/anaheadless``. It is written under another name and then renamed, so
that nobody reads an incomplete file, and it expires after an hour. The file name is a checksum of the key, which holds
all that is known before the probe; the file also lists the libraries that the probe has loaded. If anything is wrong
with a file, the run probes again.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from anaheadless import __version__
from anaheadless.opengl.candidates import Candidate, ProbeResult, Selection
from anaheadless.system.libraries import LIBRARY_FOLDERS
from anaheadless.system.light_stdlib import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_AGE_SECONDS = 3600.0
MAX_FILES = 256  # many machines may share a home folder
MAX_BYTES = 1 << 20
_NAME = re.compile(r"[0-9a-f]{8}(\.\d+\.\d+)?")  # of a file, or of its draft

# The variables that ld.so, libglvnd, Mesa, the vendors' drivers and VirtualGL use begin with these.
_PREFIXES = (
    *("LD_", "LIBGL_", "MESA_", "GALLIUM_", "GALLIVM_", "LP_", "DRI_", "__GL", "__EGL", "__NV", "EGL_", "VGL_"),
    *("NVIDIA_", "CUDA_", "VK_", "PYTHONHOME", "XLIB_", "GLIBC_TUNABLES"),
)
# Installing or removing a library changes one of these.
_LIBRARY_PATHS = (
    *LIBRARY_FOLDERS,
    *(f"{folder}/dri" for folder in LIBRARY_FOLDERS),
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/usr/share/glvnd/egl_vendor.d",
    "/etc/glvnd/egl_vendor.d",
    "/dev/dri",
)


class CacheKey(Record):
    """The key of a cache entry.

    :param path: the file of the entry.
    :param text: everything that the entry depends on.
    """

    path: str
    text: str


class CacheEntry(Record):
    """The findings of an earlier run.

    :param accepts_early_clients: whether clients can connect before the X server is ready: it takes the sockets that it
        is given, and says when it is ready.
    :param glx: whether the server advertises GLX.
    :param selection: the candidate that has drawn, with its result; or None if no OpenGL was asked for.
    """

    accepts_early_clients: bool
    glx: bool
    selection: Selection | None = None


def key_for(
    environ: Mapping[str, str], programs: Sequence[str], files: Iterable[str], *asked: object
) -> CacheKey | None:
    """Make the key for the findings of a run; return None if there is no safe folder, or no /proc/sys.

    :param environ: the environment that the target inherits.
    :param programs: the files that are executed: X server, interpreter.
    :param files: other files that the findings depend on.
    :param asked: everything else that they depend on, such as the options; the key uses its ``repr()``.
    """
    cache = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        home = environ.get("HOME") or os.path.expanduser("~")
        cache = os.path.join(home, ".cache")
    boot, driver = _read("/proc/sys/kernel/random/boot_id"), _read("/proc/driver/nvidia/version")
    # No blanks that a line of the session's status would lose: the keeper has to find the file.
    if not boot or not os.path.isabs(cache) or " ".join(cache.split()) != cache or not _may_write(cache):
        return None
    folders = [os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(each))), "lib") for each in programs]
    for name in "LD_LIBRARY_PATH", "LIBGL_DRIVERS_PATH":
        value = environ.get(name, "")
        folders += (folder or os.curdir for folder in re.split("[:;]", value) if value)  # as ld.so splits it
    text = repr(
        (
            *(__version__, boot, driver, os.geteuid(), sorted(os.getgroups()), stamp("/"), *asked),
            [(path, stamp(path)) for path in (*programs, *folders, *files, *_LIBRARY_PATHS)],
            sorted(item for item in environ.items() if item[0].startswith(_PREFIXES)),
        )
    )
    name = f"{zlib.crc32(text.encode(errors='surrogateescape')):08x}"
    return CacheKey(os.path.join(cache, "anaheadless", name), text)


def load(key: CacheKey) -> CacheEntry | None:
    """Read the entry for *key*; return None if there is none that is still valid."""
    try:
        descriptor = os.open(key.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            trusted = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
            if not trusted or not 0 <= time.time() - status.st_mtime < MAX_AGE_SECONDS:
                return None
            checksum, _, text = file.read(MAX_BYTES).partition(b"\n")
        if checksum != b"%08x" % zlib.crc32(text):
            return None
        stored = json.loads(text)
        if stored["key"] != key.text or any(stamp(path) != tuple(then) for path, then in stored["libraries"]):
            return None
        selection = None
        if stored["candidate"]:
            candidate = Candidate(**_with_tuples(stored["candidate"]))
            selection = Selection(candidate, ((candidate, ProbeResult(**_with_tuples(stored["result"]))),))
        return CacheEntry(stored["accepts_early_clients"], stored["glx"], selection)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def store(key: CacheKey, entry: CacheEntry) -> None:
    """Write *entry* to the file of *key*.

    :raises OSError: the file can't be written.
    """
    candidate, result = (entry.selection.chosen, entry.selection.result) if entry.selection else (None, None)
    stored = {
        "key": key.text,
        "accepts_early_clients": entry.accepts_early_clients,
        "glx": entry.glx,
        "candidate": candidate and {**candidate.as_dict(), "variables": dict(candidate.variables)},
        "result": result and result.replace(libraries=()).as_dict(),
        "libraries": [(path, stamp(path)) for path in (result.libraries if result else ())],
    }
    text = json.dumps(stored).encode()
    folder = os.path.dirname(key.path)
    os.makedirs(folder, 0o700, exist_ok=True)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is a symlink, or owned by another user")
    draft = f"{key.path}.{os.getpid()}.{time.monotonic_ns()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(b"%08x\n%b" % (zlib.crc32(text), text))
        os.rename(draft, key.path)
    except BaseException:
        os.unlink(draft)
        raise
    _prune(folder)


def _may_write(folder: str) -> bool:
    """Tell whether this user may write to *folder*, which may not exist yet.

    Root must not write to another user's home folder: the user could not use root's files there, and could make root
    write elsewhere.
    """
    while os.geteuid() == 0:
        try:
            if os.lstat(folder).st_uid != 0:
                return False
        except FileNotFoundError:  # it will be made, as root's
            pass
        except OSError:
            return False
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    return True


def _prune(folder: str) -> None:
    """Remove all but the newest MAX_FILES entries; keep files with other names."""
    with suppress(OSError):
        entries = (entry for entry in os.scandir(folder) if _NAME.fullmatch(entry.name))
        files = sorted(entries, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
        for entry in files[:-MAX_FILES]:
            with suppress(OSError):  # it is a folder, or another launch has removed it
                os.unlink(entry.path)


def stamp(path: str) -> tuple[int, int, int, int] | None:
    """Return what changes when a file or folder changes, or None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Turn lists into tuples: JSON has only lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read(4096)
    except OSError:
        return ""
