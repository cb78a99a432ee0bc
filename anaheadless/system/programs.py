"""Programs: where they are, and why one can't be executed."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping, Sequence

from anaheadless.errors import NOT_EXECUTABLE, LaunchError


def this_python() -> str:
    """Return the path of this interpreter; ``sys.executable`` is empty if its argv[0] was made up (``exec -a``)."""
    return sys.executable or os.path.realpath("/proc/self/exe")


def default_python(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the interpreter for Python programs that ask for none, and why it is that one."""
    folder = environ.get("VIRTUAL_ENV")
    if folder and os.path.realpath(folder) != os.path.realpath(sys.prefix):
        place = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
        python = os.path.join(folder, *place)
        if os.access(python, os.X_OK):
            return python, "of the active virtual environment"
    return this_python(), "which anaheadless is installed in"


def find_program(name: str, search: Sequence[str]) -> str | None:
    """Find the file that a shell would run for *name*, or None; a name with a slash is a path.

    :param search: the folders to look in, as :func:`os.get_exec_path` gives them.
    """
    candidates = [name] if os.sep in name else [os.path.join(folder or os.curdir, name) for folder in search]
    return next((path for path in candidates if os.path.isfile(path) and os.access(path, os.X_OK)), None)


def cannot_execute(path: str, error: OSError) -> LaunchError:
    """Return the error for a *path* that is an executable file, but that the kernel can't execute."""
    if error.errno == errno.ENOEXEC:
        hint = "It is not a program for this machine, or a script without a #! line."
    elif error.errno == errno.E2BIG:
        hint = "The arguments and the environment are too long together."
    else:
        hint = "The interpreter named in its first line may be missing."
    return LaunchError(f"{path} can't be executed: {error.strerror}", hint=hint, exit_code=NOT_EXECUTABLE)
