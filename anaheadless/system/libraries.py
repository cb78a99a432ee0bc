"""Shared libraries: those that a process has loaded, and those that ld.so finds."""

from __future__ import annotations

import os

from anaheadless.system.programs import find_program

_MACHINE = os.uname().machine if hasattr(os, "uname") else ""  # Windows has none
# The standard search path of ld.so on common systems; the first folder is Debian's.
LIBRARY_FOLDERS = (f"/usr/lib/{_MACHINE}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/lib64")


def loaded_libraries(pid: int | None = None) -> list[str]:
    """List the shared libraries that a process has loaded; default: this process.

    :raises OSError: the process has ended, or is another user's.
    """
    with open(f"/proc/{'self' if pid is None else pid}/maps", errors="surrogateescape") as maps:
        return sorted({line.split(None, 5)[5].rstrip("\n") for line in maps if ".so" in line})


def find_library(name: str) -> str | None:
    return next((path for folder in LIBRARY_FOLDERS if os.path.isfile(path := os.path.join(folder, name))), None)


def linker_cache() -> list[str]:
    """List the libraries in ld.so's cache; the list is empty if there is no ldconfig."""
    # The PATH of cron and of ordinary users has no /sbin.
    ldconfig = find_program("ldconfig", [*os.get_exec_path(), "/sbin", "/usr/sbin"])
    if ldconfig is None:
        return []
    import subprocess  # only here: a run that succeeds does not need it

    try:
        command = [ldconfig, "-p"]
        output = os.fsdecode(subprocess.run(command, capture_output=True, timeout=10).stdout)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.partition(" => ")[2] for line in output.splitlines() if " => " in line]
