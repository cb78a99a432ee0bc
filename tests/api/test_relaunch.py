"""relaunch(): with one line at its top, a script that is started plainly runs on a display of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.helpers import ANAHEADLESS, PATIENCE, PROGRAMS, keepers_of, run, run_python, wait_until
from tests.support.plain import COLOURS, answer, bare, buffered, code_of, python
from tests.support.x_servers import nobody

# --- it is the same program

SCRIPT = (PROGRAMS / "relaunched.py").read_text()
ARGUMENTS = ["--its-own", "option", "", "a b", "-c", "--", "\u00e9", os.fsdecode(b"\xff"), "$HOME", "-"]

# Ways to start a program: each puts the code into a folder, and returns the words after ``python`` that start it there.
StartedAs = Callable[[Path, str], list[str]]


def a_file(folder: Path, code: str) -> list[str]:
    (folder / "script.py").write_text(code)
    return ["script.py"]


def code_on_the_command_line(_: Path, code: str) -> list[str]:
    return ["-c", code]


def a_module(folder: Path, code: str) -> list[str]:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "tool.py").write_text(code)
    return ["-m", "package.tool"]


def a_package(folder: Path, code: str) -> list[str]:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "__main__.py").write_text(code)
    return ["-m", "package"]


def a_folder(folder: Path, code: str) -> list[str]:
    (folder / "program").mkdir()
    (folder / "program" / "__main__.py").write_text(code)
    return ["program"]


def a_zip_file(folder: Path, code: str) -> list[str]:
    with zipfile.ZipFile(folder / "program.zip", "w") as file:
        file.writestr("__main__.py", code)
    return ["program.zip"]


def a_script_of_another_module(folder: Path, code: str) -> list[str]:
    """As profilers and coverage do it, too."""
    (folder / "script.py").write_text(code)
    (folder / "runs.py").write_text("import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], None, '__main__')")
    return ["-m", "runs", "script.py"]


started_as = pytest.mark.parametrize(
    "started_as",
    [a_file, code_on_the_command_line, a_module, a_package, a_folder, a_zip_file, a_script_of_another_module],
    ids=lambda way: way.__name__,
)


def assert_the_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """But for the display, which there was not, and is."""
    assert before.pop("display") is None
    assert after.pop("display").startswith(":")
    assert after == before
    assert before["own"] == "kept"


def assert_it_is_the_same(started_as: StartedAs, folder: Path, options: list[str], **environ: str) -> None:
    """Start SCRIPT in *folder*, with *options* for Python, and compare what it says before and after."""
    command = [sys.executable, *options, *started_as(folder, SCRIPT), *ARGUMENTS]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environ = buffered(OWN="kept", **environ)
    with subprocess.Popen(command, text=True, cwd=folder, env=environ, **streams) as process:  # type: ignore[call-overload]
        try:
            output, errors = process.communicate("its input", timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 7
    assert errors == 2 * "said on stderr\n"
    before, after, read = output.splitlines()
    assert read == "read: its input"
    assert json.loads(before)["pid"] == process.pid
    assert_the_same(json.loads(before), json.loads(after))
    wait_until(lambda: not keepers_of(process.pid), "nothing is left")


@started_as
@pytest.mark.parametrize("options", [[], ["-X", "utf8", "-W", "error::UserWarning", "-Bs"]], ids=" ".join)
def test_it_is_the_same_program_however_it_is_started(
    started_as: StartedAs, options: list[str], tmp_path: Path
) -> None:
    """The same process, with its arguments, streams, folder and flags; nothing that it said is lost."""
    assert_it_is_the_same(started_as, tmp_path, options)


@started_as
def test_it_is_the_same_program_on_python_3_9(started_as: StartedAs, tmp_path: Path) -> None:
    assert_it_is_the_same(started_as, tmp_path, ["-W", "ignore"], LIKE_PYTHON39="1")


def test_a_tool_on_path_keeps_its_virtual_environment(tmp_path: Path) -> None:
    """argv[0] is whatever the caller gave; the interpreter is the same one."""
    (tmp_path / "tool").write_text(f"#!/usr/bin/env python3\n{SCRIPT}")
    (tmp_path / "tool").chmod(0o755)
    environ = buffered(PATH=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}", OWN="kept")
    output = run("an argument", command=str(tmp_path / "tool"), env=environ)
    before, after, _ = output.stdout.splitlines()
    assert_the_same(json.loads(before), json.loads(after))
    assert os.path.dirname(json.loads(before)["executable"]) == os.path.dirname(sys.executable)


@pytest.mark.parametrize(
    ("redirection", "shown"),
    [("<&-", "lost\nlost\n"), (">&-", ""), ("2>&-", "lost\nlost\n"), ("<&- >&- 2>&-", "")],
    ids=["stdin", "stdout", "stderr", "all"],
)
def test_closed_streams_do_not_stop_it(redirection: str, shown: str, script: Path, tmp_path: Path) -> None:
    script.write_text(
        f"""
import os, sys
print('lost', flush=True)
import anaheadless; anaheadless.relaunch(gl='none')
with open('{tmp_path}/done', 'w') as file: file.write(os.environ['DISPLAY'])
os._exit(5)
"""
    )
    output = run("-c", f'exec "$@" {redirection}', "sh", sys.executable, script, command="sh", env=buffered())
    assert (output.returncode, output.stdout, output.stderr) == (5, shown, "")
    assert (tmp_path / "done").read_text().startswith(":")


@pytest.mark.parametrize(
    ("end", "status", "errors"),
    [
        ("os.kill(os.getpid(), 9)", -9, ""),
        ("os._exit(41)", 41, ""),
        ("raise SystemExit('words')", 1, "words\n"),
    ],
    ids=["SIGKILL", "os._exit", "SystemExit"],
)
def test_its_status_is_its_own(end: str, status: int, errors: str) -> None:
    output = python(f"anaheadless.relaunch(gl='none'); {end}")
    assert (output.returncode, output.stderr) == (status, errors)


def test_it_needs_no_other_package() -> None:
    """Nor the launcher's command: a script may bring this package alone."""
    assert os.path.isfile(ANAHEADLESS)
    code = "sys.modules['click'] = sys.modules['psutil'] = None; anaheadless.relaunch(gl='none'); say(done=True)"
    assert answer(code) == {"done": True}


# --- it has a display as it asks for


def test_opengl_draws_in_a_widget(tmp_path: Path) -> None:
    """All that has to be decided before Qt is imported is decided."""
    code = "anaheadless.relaunch(); say(picture=picture(sys.argv[1]))"
    assert answer(code, f"{tmp_path}/out.png")["picture"][1:] == COLOURS


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ("screen='800x600'", "dimensions:    800x600 pixels"),
        ("screen='640x480x16', dpi=200", "depth of root window:    16 planes"),
        ("dpi=50", "resolution:    50x50 dots per inch"),
        ("server_args=['-dpi', '50']", "resolution:    50x50 dots per inch"),
        ("", "dimensions:    1280x1024 pixels"),
    ],
)
@pytest.mark.needs("xdpyinfo")
def test_its_display_is_as_the_options_say(options: str, shown: str) -> None:
    said = answer(f"anaheadless.relaunch(gl='none', **dict({options})); say(shown=xdpyinfo())")
    assert shown in said["shown"]


@pytest.mark.needs("xdpyinfo")
def test_a_display_of_the_user_is_not_used() -> None:
    """What runs there would be seen."""
    code = "anaheadless.relaunch(gl='none'); say(shown=xdpyinfo(), session=os.environ['ANAHEADLESS_SESSION'])"
    said = answer(code, env=bare(DISPLAY=nobody()))
    assert f"name of display:    {said['session'].partition(',')[0]}\n" in said["shown"]


@pytest.mark.needs("xdpyinfo")
def test_the_display_of_a_session_that_has_ended_is_not_used() -> None:
    names = ("DISPLAY", "XAUTHORITY", "ANAHEADLESS_SESSION")
    code = f"import json, os; print(json.dumps({{name: os.environ[name] for name in {names}}}))"
    ended = json.loads(run("run", "--gl", "none", "-c", code, env=bare()).stdout)
    assert "dimensions:" in answer("anaheadless.relaunch(gl='none'); say(shown=xdpyinfo())", env=bare(**ended))["shown"]


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_worker_processes_share_its_display(method: str, script: Path) -> None:
    """Some of them run the script's first lines again."""
    script.write_text(
        f"""
import anaheadless; anaheadless.relaunch(gl='none')
import multiprocessing, os

def work(number):
    return number, os.environ['DISPLAY']

if __name__ == '__main__':
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        found = pool.map(work, range(4))
    assert [number for number, _ in found] == list(range(4))
    assert {{display for _, display in found}} == {{os.environ['DISPLAY']}}
    print('done')
"""
    )
    output = run_python(script, env=buffered())
    assert (output.returncode, output.stdout, output.stderr) == (0, "done\n", "")


# --- in a session, it does nothing

IN_A_SESSION = """
print('ran', flush=True)
CHANGE
before = dict(os.environ)
anaheadless.relaunch(screen='123x45')
say(same=dict(os.environ) == before, shown=xdpyinfo())
"""


@pytest.mark.parametrize("change", ["", "os.environ['DISPLAY'] = ':1'"], ids=["", "DISPLAY"])
@pytest.mark.needs("xdpyinfo")
def test_a_launched_program_is_not_launched_again(change: str) -> None:
    """Also where the script itself has changed DISPLAY: it would be launched forever."""
    code = code_of(IN_A_SESSION.replace("CHANGE", change))
    output = run("run", "--gl", "none", "-c", code, env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    ran, said = output.stdout.splitlines()
    assert ran == "ran"
    assert json.loads(said)["same"] is True
    assert "123x45" not in json.loads(said)["shown"]


@pytest.mark.needs("xdpyinfo")
def test_a_program_that_a_session_starts_has_the_display_of_the_session() -> None:
    code = code_of("anaheadless.relaunch(screen='123x45'); print(xdpyinfo())")
    output = run("exec", "--gl", "none", sys.executable, "-c", code, env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    assert "1280x1024 pixels" in output.stdout
