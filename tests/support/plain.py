"""Code that a plain Python runs, without the launcher, and the displays that it may find there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import dedent
from typing import Any

import pytest

import anaheadless
from anaheadless.options import SESSION_VARIABLES
from tests.support.helpers import PATIENCE, PROGRAMS, Session, attended, run

# What could lead to a display, or choose an OpenGL, a platform or another Python.
CHOSEN = re.compile("DISPLAY|XAUTHORITY|WAYLAND_.*|QT_.*|GDK_.*|(LD|LIBGL|MESA|GALLIUM|VGL|__GLX|__EGL|ANAHEADLESS)_.*")

# For the code: what it says is a line of JSON each; report() begins with what helpers.Session is made of.
PRELUDE = f"""
import contextlib, io, json, os, runpy, subprocess, sys
import anaheadless

def say(**facts):
    print(json.dumps(facts), flush=True)

def told(info):
    server = info.virtual_display_proc
    return {{**vars(info), 'virtual_display_proc': server and server.pid}}

def report(info, **more):
    display, _, keeper = os.environ['ANAHEADLESS_SESSION'].partition(',')
    session = dict(target=os.getpid(), keeper=int(keeper), server=info.virtual_display_proc.pid, display=display)
    say(**session, authority=os.environ['XAUTHORITY'], info=told(info), **more)

def xdpyinfo():
    return subprocess.run(['xdpyinfo'], capture_output=True, text=True).stdout

def libraries(*words):
    with open('/proc/self/maps') as maps:
        return sorted({{line.split('/')[-1].strip() for line in maps if any(word in line for word in words)}})

kept = []

def picture(path):
    # What drew, and two colours: by Qt and OpenGL, in a widget that lives on.
    sys.argv[1:] = [path]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        kept.append(runpy.run_path({str(PROGRAMS / "gl_widget.py")!r}, run_name='__main__'))
    return said.getvalue().splitlines()

def tried(function, *args, **named):
    try:
        return function(*args, **named)
    except anaheadless.LaunchError as error:
        return str(error)
"""

COLOURS = ["255 0 0", "0 0 255"]


def bare(**more: str) -> dict[str, str]:
    """Our environment without a display, and without what could choose one, or an OpenGL."""
    return {**{name: value for name, value in os.environ.items() if not CHOSEN.fullmatch(name)}, **more}


def buffered(**more: str) -> dict[str, str]:
    """An environment without a display, in which Python buffers what it writes, as it does for users."""
    environ = bare(**more)
    environ.pop("PYTHONUNBUFFERED", None)
    return environ


def other_python(name: str) -> str:
    """The interpreter that *name* really is; pyenv has scripts of that name that may do nothing but complain."""
    found = shutil.which(name)
    answer = found and subprocess.run(
        [found, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, env=bare(), timeout=60
    )
    if not answer or answer.returncode != 0:
        pytest.skip(f"there is no {name}")
    return answer.stdout.strip()


def code_of(code: str) -> str:
    return PRELUDE + dedent(code)


def python(code: str, *args: str, options: tuple[str, ...] = (), **settings: Any) -> subprocess.CompletedProcess[str]:
    """*code*, after PRELUDE, to its end."""
    settings = {"env": bare(), **settings}
    return run(*options, "-c", code_of(code), *args, command=sys.executable, **settings)


def answer(code: str, *args: str, **settings: Any) -> dict[str, Any]:
    """What *code* says last, where all goes well."""
    output = python(code, *args, **settings)
    assert (output.returncode, output.stderr) == (0, ""), output
    said: dict[str, Any] = json.loads(output.stdout.splitlines()[-1])
    return said


@contextmanager
def reporting(code: str, **settings: Any) -> Iterator[Session]:
    """*code* while it runs, once it has made its report(); killed afterwards, and looked after."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(
        [sys.executable, "-c", code_of(code)],
        text=True,
        preexec_fn=lambda: signal.alarm(60),  # a limit for the report
        **{"env": bare(), **streams, **settings},
    )
    with attended(process) as session:
        yield session


def finish(session: Session) -> tuple[int, str, str]:
    """Let it go on, after its sys.stdin.readline(), to its end: the status, and what it said."""
    output, errors = session.process.communicate("\n", timeout=PATIENCE)
    return session.process.returncode, output, errors


@contextmanager
def regular_display(**options: Any) -> Iterator[dict[str, str]]:
    """An environment with a display that is no session's, as far as a program can see."""
    with anaheadless.virtual_display(bare(), **{"virtualgl": False, "shim": False, **options}) as display:
        ours = (*SESSION_VARIABLES, "QT_XCB_GL_INTEGRATION")
        yield {name: value for name, value in display.environ.items() if name not in ours}
