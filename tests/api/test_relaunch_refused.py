"""Where relaunch() can't do what it is asked for, it says why, and what to do instead; nothing is started or left."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.helpers import CHECKOUT, processes_of, run, run_python, wait_until, write_program
from tests.support.plain import answer, bare, buffered, python

# --- options that make no sense

WRONG = {
    "gl='nonsense'": "ValueError: gl: 'nonsense' is not one of 'auto', ",
    "gl=None": "TypeError: gl has to be a string, not None",
    "screen='big'": "ValueError: screen: 'big' is not WIDTHxHEIGHT",
    "screen='640x480x7'": "ValueError: screen: '640x480x7': the depth has to be 8, 15,",
    "screen='0x480'": "ValueError: screen: '0x480': width and height have to be 1 to",
    "screen=(640, 480)": "TypeError: screen has to be a string, not (640, 480)",
    "start_timeout=0": "ValueError: start_timeout: '0' is not a number of seconds: more than 0, and at most 3600",
    "probe_timeout=-1": "ValueError: probe_timeout: '-1' is not a number of seconds: more than 0, and at most 3600",
    "probe_timeout=float('nan')": "ValueError: probe_timeout: 'nan' is not a number of seconds: more than 0, and at",
    "start_timeout='soon'": "TypeError: ",
    "dpi=0": "ValueError: ",
    "dpi=-96": "ValueError: ",
    "dpi='many'": "Error: ",
    "server_args='-dpms'": "Error: ",
    "server_args=[1]": "TypeError: ",
    "nonsense=1": "TypeError: ",
    "verbose=True": "TypeError: ",
}


@pytest.mark.parametrize(("option", "words"), WRONG.items(), ids=WRONG)
def test_options_that_make_no_sense_are_refused_before_a_server_is_started(
    option: str, words: str, tmp_path: Path
) -> None:
    write_program(tmp_path / "bin" / "Xvfb", f"echo $$ >>{tmp_path}/servers", f'exec {shutil.which("Xvfb")} "$@"')
    code = f"""
    try:
        anaheadless.relaunch(**{{'gl': 'none', **dict({option})}})
    except (ValueError, TypeError) as error:
        say(words=f'{{type(error).__name__}}: {{error}}')
    else:
        say(words='nothing was wrong')
    """
    said = answer(code, env=bare(PATH=f"{tmp_path}/bin:{os.environ['PATH']}"))
    assert words in said["words"]
    assert not (tmp_path / "servers").exists()


def test_options_that_make_no_sense_are_refused_in_a_session_too() -> None:
    code = "import anaheadless; anaheadless.relaunch(screen='big')"
    output = run("run", "--gl", "none", "-c", code, env=bare())
    assert output.returncode == 1
    assert output.stderr.endswith(
        "ValueError: screen: 'big' is not WIDTHxHEIGHT or WIDTHxHEIGHTxDEPTH, as in 1280x1024x24.\n"
    )


# --- programs that can't be started again

TRY = """
import anaheadless, sys
try: anaheadless.relaunch(gl='none')
except RuntimeError as error: print(error)

"""


class Program(NamedTuple):
    """A program that tries to relaunch itself.

    :param words: what comes after ``python``; SCRIPT stands for the file.
    :param script: what is in that file.
    :param typed: what comes from standard input.
    """

    words: tuple[str, ...]
    script: str = ""
    typed: str = ""


def script_that(*before: str) -> Program:
    """A script that does something first."""
    return Program(("SCRIPT", "argument"), "\n".join(["import sys", *before, TRY]))


def worker_of_multiprocessing(method: str) -> Program:
    in_a_function = TRY.strip().replace("\n", "\n    ")
    code = f"""
import multiprocessing, sys
def work():
    {in_a_function}
if __name__ == '__main__':
    process = multiprocessing.get_context({method!r}).Process(target=work)
    process.start()
    process.join(60)
    sys.exit(process.exitcode)
"""
    return Program(("SCRIPT",), code)


READ, INTERACTIVE = "it was read from standard input", "it is an interactive interpreter"
EMBEDDED, SHELL = "its interpreter is embedded in another program", "it is an IPython shell or a Jupyter kernel"
WORKER, CHANGED = "it is a worker process of multiprocessing", "its arguments have been changed"

CAN_NOT: dict[str, tuple[Program, str]] = {
    "standard input": (Program((), typed=TRY), READ),
    "standard input as -": (Program(("-", "argument"), typed=TRY), READ),
    "interactive": (Program(("-i",), typed=TRY), INTERACTIVE),
    "interactive after a script": (Program(("-i", "SCRIPT", "argument"), TRY), INTERACTIVE),
    "embedded": (script_that("sys.executable = '/bin/sh'"), EMBEDDED),
    "embedded, unknown": (script_that("sys.executable = ''"), EMBEDDED),
    "embedded, none": (script_that("sys.executable = None"), EMBEDDED),
    "embedded, not there": (script_that("sys.executable = '/nonexistent/python'"), EMBEDDED),
    "frozen": (script_that("sys.frozen = True"), EMBEDDED),
    "IPython": (Program(("-m", "IPython", "--no-banner", "--quick", "-c", TRY)), SHELL),
    "arguments added": (script_that("sys.argv.append('one more')"), CHANGED),
    "arguments changed": (script_that("sys.argv[1] = 'other'"), CHANGED),
    "worker by fork": (worker_of_multiprocessing("fork"), WORKER),
    "worker by spawn": (worker_of_multiprocessing("spawn"), WORKER),
    "worker by forkserver": (worker_of_multiprocessing("forkserver"), WORKER),
}


@pytest.mark.parametrize(("tries", "reason"), CAN_NOT.values(), ids=CAN_NOT)
def test_what_can_not_be_started_again_is_told_why_and_what_to_do(
    tries: Program, reason: str, script: Path, tmp_path: Path
) -> None:
    script.write_text(tries.script)
    words = [str(script) if word == "SCRIPT" else word for word in tries.words]
    environ = bare(IPYTHONDIR=str(tmp_path), HOME=str(tmp_path))
    output = run_python(*words, stdin=None, input=tries.typed, env=environ)
    assert output.returncode == 0, output
    assert f"anaheadless: this program can't be relaunched: {reason}\n" in output.stdout
    assert output.stdout.count("anaheadless: this program") == 1
    assert "'anaheadless run'" in output.stdout
    assert "anaheadless.setup_headless()" in output.stdout
    assert "Traceback" not in output.stderr


# --- launches that fail


def test_a_launch_that_fails_ends_the_program_as_the_launchers_own_command_ends(tmp_path: Path) -> None:
    """With its status and its words, after all that the script had to say."""
    (tmp_path / "alone").mkdir()  # Xvfb is looked for beside the interpreter, too
    (tmp_path / "alone" / "python").symlink_to(os.path.realpath(sys.executable))
    code = "print('said before'); import anaheadless; anaheadless.relaunch(server='xvfb'); print('never said')"
    environ = buffered(PYTHONPATH=str(CHECKOUT), PATH=f"{tmp_path}/bin")
    output = run("-c", code, command=f"{tmp_path}/alone/python", env=environ)
    assert (output.returncode, output.stdout) == (125, "said before\n")
    theirs = run("run", "--server", "xvfb", "--python", f"{tmp_path}/alone/python", "-c", "pass", env=environ)
    assert output.stderr.startswith("anaheadless: Xvfb is not installed, or not on PATH")
    assert (theirs.returncode, theirs.stderr) == (125, output.stderr)


def test_a_server_that_fails_is_quoted(tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "Xvfb", f"echo $$ >>{tmp_path}/servers", "echo 'the moon is full' >&2", "exit 1")
    environ = buffered(PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    output = python("print('said before'); anaheadless.relaunch(server='xvfb'); print('never said')", env=environ)
    assert (output.returncode, output.stdout) == (125, "said before\n")
    assert "  | the moon is full\n" in output.stderr
    assert "Traceback" not in output.stderr
    wait_until(lambda: not processes_of(tmp_path), "nothing is left")
