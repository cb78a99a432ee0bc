"""Shared libraries: those that a process has loaded, and those that ld.so would find."""

from __future__ import annotations

import os

from anaheadless.system.programs import find_program

# The standard search path of ld.so on the systems that people have; Debian's names its architecture.
LIBRARY_FOLDERS = (f"/usr/lib/{os.uname().machine}-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib", "/lib64")


def loaded_libraries(pid: int | None = None) -> list[str]:
    """The shared libraries of a process, of this one by default; OSError when it is gone, or another user's."""
    with open(f"/proc/{'self' if pid is None else pid}/maps", errors="surrogateescape") as maps:
        return sorted({line.split(None, 5)[5].rstrip("\n") for line in maps if ".so" in line})


def find_library(name: str) -> str | None:
    return next((path for folder in LIBRARY_FOLDERS if os.path.isfile(path := os.path.join(folder, name))), None)


def linker_cache() -> list[str]:
    """The libraries in ld.so's cache; none where there is no ldconfig."""
    # Cron's PATH has no /sbin, and neither has an ordinary user's.
    ldconfig = find_program("ldconfig", [*os.get_exec_path(), "/sbin", "/usr/sbin"])
    if ldconfig is None:
        return []
    import subprocess  # only here: a run that goes well has no need of it

    try:
        command = [ldconfig, "-p"]
        output = os.fsdecode(subprocess.run(command, capture_output=True, timeout=10).stdout)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.partition(" => ")[2] for line in output.splitlines() if " => " in line]
