"""The interpreter that a script asks for in its metadata (PEP 723), made ready by an installed uv."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from anaheadless.errors import LaunchError
from anaheadless.system.programs import find_program

LIMIT = 3600.0  # seconds for the downloads


def script_python(script: str, environ: Mapping[str, str], *, quiet: bool) -> str:
    """Let uv make or update the environment of *script*; return the interpreter in it.

    :param quiet: whether to keep uv from saying what it does.
    :raises LaunchError: there is no uv, or it fails.
    """
    search = os.get_exec_path(environ)
    uv = find_program("uv", search)
    if uv is None:
        raise LaunchError(
            f"uv is not installed, or not on PATH ({os.pathsep.join(search)})",
            hint="Install it: pip install uv. Or leave --uv out, and give the script's packages to its --python.",
        )
    _output([uv, "sync", *(["--quiet"] if quiet else []), "--script", script], environ, captured=quiet)
    return _output([uv, "python", "find", "--script", script], environ, captured=True).strip()


def _output(command: list[str], environ: Mapping[str, str], *, captured: bool) -> str:
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if captured else None,
            timeout=LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(
            f"uv can't make the script's environment: {error}", hint=f"Try: {' '.join(command)}"
        ) from error
    if done.returncode:
        said = os.fsdecode(done.stderr or b"").splitlines()
        raise LaunchError(
            f"uv can't make the script's environment: status {done.returncode}",
            details=tuple(said[-8:]),
            hint="See the metadata (PEP 723) at the beginning of the script.",
        )
    return os.fsdecode(done.stdout)
