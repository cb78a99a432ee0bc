"""relaunch(): a script that was started plainly becomes a launched program, by one line at its top."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.helpers import ANAHEADLESS, CHECKOUT, PATIENCE, keepers_of, processes_of, program, run, wait_until
from tests.support.plain import COLOURS, answer, bare, code_of, python
from tests.support.x_servers import nobody

# Says twice who it is, the first time before it is launched: all but its display is to be the same. What is said goes
# through Python's buffer, and no line of it may be lost, or come too late.
SCRIPT = """
import json, os, sys
NO_ORIG_ARGV
flags = {name: getattr(sys.flags, name) for name in dir(sys.flags) if name[0] != '_' and name[:2] != 'n_'}
print(json.dumps({
    'pid': os.getpid(),
    'argv': sys.argv,
    'words': getattr(sys, 'orig_argv', [])[1:],
    'executable': sys.executable,
    'flags': {name: value for name, value in flags.items() if not callable(value)},
    'warnings': sys.warnoptions,
    'x': sys._xoptions,
    'name': __name__,
    'file': globals().get('__file__'),
    'spec': repr(__spec__)[:20],
    'path': sys.path,
    'cwd': os.getcwd(),
    'streams': [os.readlink(f'/proc/self/fd/{number}') for number in range(3)],
    'descriptors': sorted(os.listdir('/proc/self/fd')),
    'own': os.environ.get('OWN'),
    'display': os.environ.get('DISPLAY'),
}))
print('said on stderr', file=sys.stderr)
import anaheadless; anaheadless.relaunch(gl='none')
print('read:', sys.stdin.read())
sys.exit(7)
"""
ARGUMENTS = ["--its-own", "option", "", "a b", "-c", "--", "\u00e9", os.fsdecode(b"\xff"), "$HOME", "-"]

Put = Callable[[Path, str], list[str]]


def as_file(folder: Path, code: str) -> list[str]:
    (folder / "script.py").write_text(code)
    return ["script.py"]


def as_code(_: Path, code: str) -> list[str]:
    return ["-c", code]


def as_module(folder: Path, code: str) -> list[str]:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "tool.py").write_text(code)
    return ["-m", "package.tool"]


def as_package(folder: Path, code: str) -> list[str]:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "__main__.py").write_text(code)
    return ["-m", "package"]


def as_folder(folder: Path, code: str) -> list[str]:
    (folder / "program").mkdir()
    (folder / "program" / "__main__.py").write_text(code)
    return ["program"]


def as_zip(folder: Path, code: str) -> list[str]:
    with zipfile.ZipFile(folder / "program.zip", "w") as file:
        file.writestr("__main__.py", code)
    return ["program.zip"]


def by_another(folder: Path, code: str) -> list[str]:
    """As profilers and coverage do it, too: a module that runs a script."""
    (folder / "script.py").write_text(code)
    (folder / "runs.py").write_text("import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], None, '__main__')")
    return ["-m", "runs", "script.py"]


WAYS: Sequence[Put] = (as_file, as_code, as_module, as_package, as_folder, as_zip, by_another)
way = pytest.mark.parametrize("put", WAYS, ids=lambda put: put.__name__)


def buffered(**more: str) -> dict[str, str]:
    environ = bare(**more)
    environ.pop("PYTHONUNBUFFERED", None)
    return environ


@way
@pytest.mark.parametrize("options", [[], ["-X", "utf8", "-W", "error::UserWarning", "-Bs"]], ids=" ".join)
def test_program_is_the_same(put: Put, options: list[str], tmp_path: Path) -> None:
    assert_the_same(put, options, tmp_path, "")


@way
def test_program_is_the_same_on_python39(put: Put, tmp_path: Path) -> None:
    assert_the_same(put, ["-W", "ignore"], tmp_path, "if hasattr(sys, 'orig_argv'): del sys.orig_argv")


def assert_the_same(put: Put, options: list[str], tmp_path: Path, remove: str) -> None:
    words = put(tmp_path, SCRIPT.replace("NO_ORIG_ARGV", remove))
    command = [sys.executable, *options, *words, *ARGUMENTS]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, cwd=tmp_path, env=buffered(OWN="kept"), **streams) as process:  # type: ignore[call-overload]
        try:
            output, errors = process.communicate("its input", timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 7
    assert errors == 2 * "said on stderr\n"
    first, second, read = output.splitlines()
    assert read == "read: its input"
    before, after = json.loads(first), json.loads(second)
    assert before["pid"] == process.pid
    assert before.pop("display") is None
    assert after.pop("display").startswith(":")
    assert after == before
    assert before["own"] == "kept"
    wait_until(lambda: not keepers_of(process.pid), "nothing is left")


def test_found_on_path(tmp_path: Path) -> None:
    """argv[0] is whatever the caller gave; the interpreter is the same one, of its virtual environment."""
    code = SCRIPT.replace("NO_ORIG_ARGV", "")
    (tmp_path / "tool").write_text(f"#!/usr/bin/env python3\n{code}")
    (tmp_path / "tool").chmod(0o755)
    environ = buffered(PATH=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}", OWN="kept")
    output = run("an argument", command=str(tmp_path / "tool"), env=environ)
    first, second, _ = output.stdout.splitlines()
    before, after = json.loads(first), json.loads(second)
    assert before.pop("display") != after.pop("display")
    assert before == after
    assert os.path.dirname(before["executable"]) == os.path.dirname(sys.executable)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(closed: str, script: Path, tmp_path: Path) -> None:
    script.write_text(
        f"""
import os, sys
print('lost', flush=True)
import anaheadless; anaheadless.relaunch(gl='none')
with open('{tmp_path}/done', 'w') as file: file.write(os.environ['DISPLAY'])
os._exit(5)
"""
    )
    output = run("-c", f'exec "$@" {closed}', "sh", sys.executable, script, command="sh", env=buffered())
    assert output.returncode == 5
    assert (output.stdout, output.stderr) == ("" if ">&- " in f" {closed} ".replace("2>", "") else "lost\nlost\n", "")
    assert (tmp_path / "done").read_text().startswith(":")


def test_widget(tmp_path: Path) -> None:
    """With OpenGL, and what was decided before Qt was imported."""
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
def test_options(options: str, shown: str) -> None:
    said = answer(f"anaheadless.relaunch(gl='none', **dict({options})); say(shown=xdpyinfo())")
    assert shown in said["shown"]


# --- where there is nothing to do

ONCE = """
print('ran', flush=True)
before = dict(os.environ)
CHANGE
anaheadless.relaunch(screen='123x45')
say(same=dict(os.environ) == before, shown=xdpyinfo())
"""


@pytest.mark.parametrize("change", ["", "os.environ['DISPLAY'] = ':1'; before['DISPLAY'] = ':1'"], ids=["", "DISPLAY"])
@pytest.mark.needs("xdpyinfo")
def test_inside_a_session(change: str) -> None:
    """Also where the script has changed DISPLAY by itself: it would be launched forever."""
    output = run("run", "--gl", "none", "-c", code_of(ONCE.replace("CHANGE", change)), env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    first, second = output.stdout.splitlines()
    assert first == "ran"
    said = json.loads(second)
    assert said["same"] is True
    assert "123x45" not in said["shown"]


@pytest.mark.needs("xdpyinfo")
def test_in_a_program_that_a_session_starts() -> None:
    inner = code_of("anaheadless.relaunch(screen='123x45'); print(xdpyinfo())")
    output = run("exec", "--gl", "none", sys.executable, "-c", inner, env=bare())
    assert (output.returncode, output.stderr) == (0, "")
    assert "1280x1024 pixels" in output.stdout


@pytest.mark.needs("xdpyinfo")
def test_variables_of_a_session_that_has_ended() -> None:
    names = ("DISPLAY", "XAUTHORITY", "ANAHEADLESS_SESSION")
    code = f"import json, os; print(json.dumps({{name: os.environ[name] for name in {names}}}))"
    ended = json.loads(run("run", "--gl", "none", "-c", code, env=bare()).stdout)
    assert "dimensions:" in answer("anaheadless.relaunch(gl='none'); say(shown=xdpyinfo())", env=bare(**ended))["shown"]


@pytest.mark.needs("xdpyinfo")
def test_regular_display() -> None:
    """It is launched all the same: what runs on a screen is to be seen by nobody."""
    code = "anaheadless.relaunch(gl='none'); say(shown=xdpyinfo(), session=os.environ['ANAHEADLESS_SESSION'])"
    said = answer(code, env=bare(DISPLAY=nobody()))
    assert f"name of display:    {said['session'].partition(',')[0]}\n" in said["shown"]


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_children_of_multiprocessing(method: str, script: Path) -> None:
    """Some run the script's first lines again; all of them have its display."""
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
    output = run(script, command=sys.executable, env=buffered())
    assert (output.returncode, output.stdout, output.stderr) == (0, "done\n", "")


# --- where it can't

WRONG = {
    "gl='nonsense'": "ValueError: gl is 'nonsense', but has to be one of auto, virtualgl,",
    "gl=None": "ValueError: gl is None, but has to be one of auto, ",
    "screen='big'": "ValueError: 'big' is not WIDTHxHEIGHT",
    "screen='640x480x7'": "ValueError: '640x480x7': the depth has to be 8, 15,",
    "screen='0x480'": "ValueError: '0x480': width and height have to be 1 to",
    "screen=(640, 480)": "TypeError: ",
    "start_timeout=0": "ValueError: A time limit has to be more than 0 and at most 3600 seconds, not 0",
    "probe_timeout=-1": "ValueError: A time limit has to be more than 0 and at most 3600 seconds, not -1",
    "probe_timeout=float('nan')": "ValueError: A time limit has to be more than 0 and at most 3600 seconds, not nan",
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
def test_options_that_make_no_sense(option: str, words: str, tmp_path: Path) -> None:
    """Said before anything is started, whatever there is to start, and in a session as well."""
    program(tmp_path / "bin" / "Xvfb", f"echo $$ >>{tmp_path}/servers", f'exec {shutil.which("Xvfb")} "$@"')
    code = f"""
    try:
        anaheadless.relaunch(**{{'gl': 'none', **dict({option})}})
    except (ValueError, TypeError) as error:
        say(words=f'{{type(error).__name__}}: {{error}}')
    else:
        say(words='nothing was wrong')
    """
    environ = bare(PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    said = answer(code, env=environ)
    assert words in said["words"]
    assert not (tmp_path / "servers").exists()


def test_options_that_make_no_sense_in_a_session() -> None:
    code = "import anaheadless; anaheadless.relaunch(screen='big')"
    output = run("run", "--gl", "none", "-c", code, env=bare())
    assert output.returncode == 1
    assert output.stderr.endswith("ValueError: 'big' is not WIDTHxHEIGHT or WIDTHxHEIGHTxDEPTH, as in 1280x1024x24.\n")


REFUSED = "import anaheadless\ntry: anaheadless.relaunch(gl='none')\nexcept RuntimeError as error: print(error)\n\n"
READ, INTERACTIVE = "it was read from standard input", "it is an interactive interpreter"
EMBEDDED, SHELL = "its interpreter is embedded in another program", "it is an IPython shell or a Jupyter kernel"
WORKER, CHANGED = "it is a worker process of multiprocessing", "its arguments have been changed"


def on_input(*words: str) -> Callable[[Path], tuple[list[str], str]]:
    return lambda _: ([*words], REFUSED)


def as_script(before: str, *words: str) -> Callable[[Path], tuple[list[str], str]]:
    def prepare(script: Path) -> tuple[list[str], str]:
        script.write_text(f"import sys\n{before}\n{REFUSED}")
        return [*words, str(script), "argument"], ""

    return prepare


def in_worker(method: str) -> Callable[[Path], tuple[list[str], str]]:
    code = f"""
import multiprocessing
def work():
    {REFUSED.strip().replace(chr(10), chr(10) + "    ")}
if __name__ == '__main__':
    process = multiprocessing.get_context({method!r}).Process(target=work)
    process.start()
    process.join(60)
    sys.exit(process.exitcode)
"""

    def prepare(script: Path) -> tuple[list[str], str]:
        script.write_text(f"import sys\n{code}")
        return [str(script)], ""

    return prepare


REFUSALS: dict[str, tuple[Callable[[Path], tuple[list[str], str]], str]] = {
    "standard input": (on_input(), READ),
    "standard input as -": (on_input("-", "argument"), READ),
    "interactive": (on_input("-i"), INTERACTIVE),
    "interactive after a script": (as_script("", "-i"), INTERACTIVE),
    "embedded": (as_script("sys.executable = '/bin/sh'"), EMBEDDED),
    "embedded, unknown": (as_script("sys.executable = ''"), EMBEDDED),
    "embedded, none": (as_script("sys.executable = None"), EMBEDDED),
    "embedded, not there": (as_script("sys.executable = '/nonexistent/python'"), EMBEDDED),
    "frozen": (as_script("sys.frozen = True"), EMBEDDED),
    "IPython": (lambda _: (["-m", "IPython", "--no-banner", "--quick", "-c", REFUSED], ""), SHELL),
    "arguments added": (as_script("sys.argv.append('one more')"), CHANGED),
    "arguments changed": (as_script("sys.argv[1] = 'other'"), CHANGED),
    "worker by fork": (in_worker("fork"), WORKER),
    "worker by spawn": (in_worker("spawn"), WORKER),
    "worker by forkserver": (in_worker("forkserver"), WORKER),
}


@pytest.mark.parametrize(("prepare", "reason"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(prepare: Callable[[Path], tuple[list[str], str]], reason: str, script: Path, tmp_path: Path) -> None:
    words, standard_input = prepare(script)
    settings: dict[str, Any] = {"stdin": None, "input": standard_input}
    output = run(*words, command=sys.executable, env=bare(IPYTHONDIR=str(tmp_path), HOME=str(tmp_path)), **settings)
    assert output.returncode == 0, output
    assert f"anaheadless: this program can't be relaunched: {reason}\n" in output.stdout
    assert output.stdout.count("anaheadless: this program") == 1
    assert "'anaheadless run'" in output.stdout
    assert "anaheadless.setup_headless()" in output.stdout
    assert "Traceback" not in output.stderr


def test_failure_of_the_launcher(tmp_path: Path) -> None:
    """The status and the words are those of its own command; all that the script had to say is said."""
    (tmp_path / "alone").mkdir()  # Xvfb is looked for beside the interpreter, too
    (tmp_path / "alone" / "python").symlink_to(os.path.realpath(sys.executable))
    code = "print('said before'); import anaheadless; anaheadless.relaunch(); print('never said')"
    environ = buffered(PYTHONPATH=str(CHECKOUT), PATH=f"{tmp_path}/bin")
    output = run("-c", code, command=f"{tmp_path}/alone/python", env=environ)
    assert (output.returncode, output.stdout) == (125, "said before\n")
    theirs = run("run", "--python", f"{tmp_path}/alone/python", "-c", "pass", env=environ)
    assert output.stderr.startswith("anaheadless: Xvfb is not installed, or not on PATH")
    assert (theirs.returncode, theirs.stderr) == (125, output.stderr)


def test_server_that_fails(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "Xvfb", f"echo $$ >>{tmp_path}/servers", "echo 'the moon is full' >&2", "exit 1")
    environ = buffered(PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    output = python("print('said before'); anaheadless.relaunch(); print('never said')", env=environ)
    assert (output.returncode, output.stdout) == (125, "said before\n")
    assert "  | the moon is full\n" in output.stderr
    assert "Traceback" not in output.stderr
    wait_until(lambda: not processes_of(tmp_path), "nothing is left")


def test_status_of_the_script_and_of_signals() -> None:
    for end, status in ("os.kill(os.getpid(), 9)", -9), ("os._exit(41)", 41), ("raise SystemExit('words')", 1):
        output = python(f"anaheadless.relaunch(gl='none'); {end}")
        assert (output.returncode, output.stderr) == (status, "words\n" if status == 1 else "")


def test_command_of_the_launcher_is_not_needed() -> None:
    """Nor click: a script may bring this package alone."""
    assert os.path.isfile(ANAHEADLESS)
    code = "sys.modules['click'] = sys.modules['psutil'] = None; anaheadless.relaunch(gl='none'); say(done=True)"
    assert answer(code) == {"done": True}
