"""Print what a program can know of how it was started, as JSON."""

from __future__ import annotations

import json
import os
import resource
import stat
import sys


def status_lines() -> dict[str, str]:
    with open("/proc/self/status") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return {name: fields[name] for name in ("SigBlk", "SigIgn", "SigCgt", "Groups", "Uid", "Seccomp", "NoNewPrivs")}


def descriptors() -> dict[str, str]:
    found = {}
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            status = os.fstat(int(name))
        except OSError:  # the one that listed them
            continue
        found[name] = f"{stat.S_IFMT(status.st_mode):o} {status.st_dev} {status.st_ino}"
    return found


def wait_for_children() -> str:
    try:
        return str(os.wait())
    except ChildProcessError:
        return "no children"


umask = os.umask(0)
os.umask(umask)
print(
    json.dumps(
        {
            "argv": [os.fsencode(argument).hex() for argument in sys.argv],
            "orig_argv": [os.fsencode(argument).hex() for argument in getattr(sys, "orig_argv", [])[1:]],
            "path": sys.path[0],
            "main": getattr(sys.modules["__main__"], "__file__", None),
            "cwd": os.getcwd(),
            "umask": umask,
            "group": os.getpgrp(),
            "session": os.getsid(0),
            "parent": os.getppid(),
            "nice": os.nice(0),
            "limits": {
                name: resource.getrlimit(number)
                for name, number in vars(resource).items()
                if name.startswith("RLIMIT_")
            },
            "terminals": [os.isatty(number) for number in range(3)],
            "descriptors": descriptors(),
            "status": status_lines(),
            "children": wait_for_children(),
            "environ": {
                name: value
                for name, value in os.environ.items()
                if name not in ("DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "XDG_SESSION_TYPE")
                and not name.startswith("ANAHEADLESS_")
            },
        }
    )
)
