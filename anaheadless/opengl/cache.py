"""What earlier runs have found out: where nothing has changed that it depends on, nothing is proved again.

A small file each in ``$XDG_CACHE_HOME/anaheadless``. It is written whole and then renamed, so nobody reads half of one,
and ends of its own accord after an hour. Its name is made of its key, which holds all that was known before the proof;
its contents add what the proof has loaded. Whatever is wrong with it, the proof is done again.
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
MAX_FILES = 256  # a home folder may be that of many machines
MAX_BYTES = 1 << 20
_NAME = re.compile(r"[0-9a-f]{8}(\.\d+\.\d+)?")  # that of a file, or of its draft

# What the loader, libglvnd, Mesa, the vendors' drivers and VirtualGL look at.
_PREFIXES = (
    *("LD_", "LIBGL_", "MESA_", "GALLIUM_", "GALLIVM_", "LP_", "DRI_", "__GL", "__EGL", "__NV", "EGL_", "VGL_"),
    *("NVIDIA_", "CUDA_", "VK_", "PYTHONHOME", "XLIB_", "GLIBC_TUNABLES"),
)
# A library that is installed or removed changes one of them.
_LIBRARY_PLACES = (
    *LIBRARY_FOLDERS,
    *(f"{folder}/dri" for folder in LIBRARY_FOLDERS),
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/usr/share/glvnd/egl_vendor.d",
    "/etc/glvnd/egl_vendor.d",
    "/dev/dri",
)


class CacheKey(Record):
    """Where something is remembered.

    :param key: all that it depends on, as text.
    """

    path: str
    key: str


class CacheEntry(Record):
    """What was found out.

    :param accepts_early_clients: whether the X server need not be waited for: it takes our sockets, and says when it is
        ready.
    :param glx: whether it advertises GLX.
    :param selection: what has drawn, and its proof; or None where no OpenGL was asked for.
    """

    accepts_early_clients: bool
    glx: bool
    selection: Selection | None = None


def key_for(
    environ: Mapping[str, str], programs: Sequence[str], files: Iterable[str], *asked: object
) -> CacheKey | None:
    """Where to remember what comes of a start; None: nowhere, no safe folder can be had, or no /proc/sys.

    :param environ: what the target is to inherit.
    :param programs: the files that are executed: X server, interpreter.
    :param files: others that matter.
    :param asked: all that was asked for, and all that is known; its representation counts.
    """
    cache = environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(cache):
        home = environ.get("HOME") or os.path.expanduser("~")
        cache = os.path.join(home, ".cache")
    boot, driver = _read("/proc/sys/kernel/random/boot_id"), _read("/proc/driver/nvidia/version")
    # Without blanks that a line of notes does not keep: the keeper has to find the file.
    if not boot or not os.path.isabs(cache) or " ".join(cache.split()) != cache or not _is_ours_to_fill(cache):
        return None
    folders = [os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(each))), "lib") for each in programs]
    for name in "LD_LIBRARY_PATH", "LIBGL_DRIVERS_PATH":
        value = environ.get(name, "")
        folders += (folder or os.curdir for folder in re.split("[:;]", value) if value)  # as ld.so reads it
    key = repr(
        (
            *(__version__, boot, driver, os.geteuid(), sorted(os.getgroups()), stamp("/"), *asked),
            [(path, stamp(path)) for path in (*programs, *folders, *files, *_LIBRARY_PLACES)],
            sorted(item for item in environ.items() if item[0].startswith(_PREFIXES)),
        )
    )
    return CacheKey(os.path.join(cache, "anaheadless", f"{zlib.crc32(key.encode(errors='surrogateescape')):08x}"), key)


def load(place: CacheKey) -> CacheEntry | None:
    """What is remembered there, if it still holds."""
    try:
        descriptor = os.open(place.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
            if not ours or not 0 <= time.time() - status.st_mtime < MAX_AGE_SECONDS:
                return None
            checksum, _, text = file.read(MAX_BYTES).partition(b"\n")
        if checksum != b"%08x" % zlib.crc32(text):
            return None
        said = json.loads(text)
        if said["key"] != place.key or any(stamp(path) != tuple(then) for path, then in said["libraries"]):
            return None
        selection = None
        if said["candidate"]:
            candidate = Candidate(**_with_tuples(said["candidate"]))
            selection = Selection(candidate, ((candidate, ProbeResult(**_with_tuples(said["proof"]))),))
        return CacheEntry(said["accepts_early_clients"], said["glx"], selection)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def store(place: CacheKey, found: CacheEntry) -> None:
    """Write it down; :raises OSError: that can't be done."""
    candidate, result = (found.selection.chosen, found.selection.result) if found.selection else (None, None)
    said = {
        "key": place.key,
        "accepts_early_clients": found.accepts_early_clients,
        "glx": found.glx,
        "candidate": candidate and {**candidate.as_dict(), "variables": dict(candidate.variables)},
        "proof": result and result.replace(libraries=()).as_dict(),
        "libraries": [(path, stamp(path)) for path in (result.libraries if result else ())],
    }
    text = json.dumps(said).encode()
    folder = os.path.dirname(place.path)
    os.makedirs(folder, 0o700, exist_ok=True)
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} is a link, or somebody else's")
    draft = f"{place.path}.{os.getpid()}.{time.monotonic_ns()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(b"%08x\n%b" % (zlib.crc32(text), text))
        os.rename(draft, place.path)
    except BaseException:
        os.unlink(draft)
        raise
    _prune(folder)


def _is_ours_to_fill(folder: str) -> bool:
    """Not so for root with somebody's HOME, who could not use what is made there, and could have it made elsewhere."""
    while os.geteuid() == 0:
        try:
            if os.lstat(folder).st_uid != 0:
                return False
        except FileNotFoundError:  # it will be root's
            pass
        except OSError:
            return False
        above = os.path.dirname(folder)
        if above == folder:
            break
        folder = above
    return True


def _prune(folder: str) -> None:
    """Keep the newest MAX_FILES, and what is none of ours."""
    with suppress(OSError):
        ours = (entry for entry in os.scandir(folder) if _NAME.fullmatch(entry.name))
        files = sorted(ours, key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
        for entry in files[:-MAX_FILES]:
            with suppress(OSError):  # it is a folder, or another launch has come first
                os.unlink(entry.path)


def stamp(path: str) -> tuple[int, int, int, int] | None:
    """What changes with a file or folder; None: it is not there."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _with_tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read(4096)
    except OSError:
        return ""
