"""Say twice who this is, as a line of JSON: before it is relaunched, and after. All but the display is to be the same.

What is said goes through Python's buffer: no line of it may be lost, or come too late. With LIKE_PYTHON39 set,
sys.orig_argv is missing, as it is there.
"""

from __future__ import annotations

import json
import os
import sys

if os.environ.get("LIKE_PYTHON39") and hasattr(sys, "orig_argv"):
    del sys.orig_argv
flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if name[0] != "_" and name[:2] != "n_"}
print(
    json.dumps(
        {
            "pid": os.getpid(),
            "argv": sys.argv,
            "words": getattr(sys, "orig_argv", [])[1:],
            "executable": sys.executable,
            "flags": {name: value for name, value in flags.items() if not callable(value)},
            "warnings": sys.warnoptions,
            "x": sys._xoptions,
            "name": __name__,
            "file": globals().get("__file__"),
            "spec": repr(__spec__)[:20],
            "path": sys.path,
            "cwd": os.getcwd(),
            "streams": [os.readlink(f"/proc/self/fd/{number}") for number in range(3)],
            "descriptors": sorted(os.listdir("/proc/self/fd")),
            "own": os.environ.get("OWN"),
            "display": os.environ.get("DISPLAY"),
        }
    )
)
print("said on stderr", file=sys.stderr)
import anaheadless  # noqa: E402

anaheadless.relaunch(gl="none")
print("read:", sys.stdin.read())
sys.exit(7)
