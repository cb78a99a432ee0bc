"""On macOS and Windows, programs run without a virtual display, and without what only Linux has."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.helpers import CHECKOUT, run, write_program

# What Python has on Linux, and not there. Of an interpreter on Linux, the standard library needs the rest.
PRETENCE = """
import os, sys
sys.platform = {platform!r}
gone = {{"fcntl", "resource", "termios", "pwd", "grp", "click", "psutil"}}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in gone:
            raise ModuleNotFoundError(f"there is no {{name}} here")

if {platform!r} == "win32":
    for name in ("uname", "geteuid", "getuid", "fork", "memfd_create", "pidfd_open", "setpgid", "getppid"):
        if hasattr(os, name):
            delattr(os, name)
    gone.add("_posixshmem")
for name in gone:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
# The programs that are started are on Linux again.
os.environ.pop("PYTHONPATH")
"""
NAMES = {"darwin": "macOS", "win32": "Windows"}
NOTE = "anaheadless: this is {}, not Linux: programs run without a virtual display (-q: no note)\n"


@pytest.fixture(params=sorted(NAMES))
def platform(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def elsewhere(
    platform: str, folder: Path, *words: str, entry: str = "main", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run ``anaheadless WORDS`` as on *platform*."""
    (folder / "pretence").mkdir(exist_ok=True)
    (folder / "pretence" / "sitecustomize.py").write_text(PRETENCE.format(platform=platform))
    kept = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "ANAHEADLESS_SESSION")}
    environ = {**kept, "PYTHONPATH": str(folder / "pretence"), **more}
    code = f"import sys; sys.path.insert(0, {str(CHECKOUT)!r}); from anaheadless.cli.entry import {entry}; {entry}()"
    return run("-c", code, *words, command=sys.executable, env=environ, cwd=folder)


SHOW = "import os, sys; print(sys.argv[1:], os.environ.get('DISPLAY')); sys.exit(3)"


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--screen", "640x480", "--gl=none", "-v", "script.py", "--screen", "x"],
        ["run", "--", "script.py", "--screen", "x"],
        ["run", "--log", "x", "-c", SHOW, "--screen", "x"],
        ["run", "-m", "script", "--screen", "x"],
        ["exec", "--timeout", "9", "python3", "script.py", "--screen", "x"],
        ["exec", "-an", "50", "-s-screen 0 8x8x24", "-e", "x", "python3", "script.py", "--screen", "x"],
    ],
    ids=" ".join,
)
def test_programs_run_as_they_are(words: list[str], platform: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SHOW)
    output = elsewhere(platform, tmp_path, *words)
    assert (output.returncode, output.stdout) == (3, "['--screen', 'x'] None\n"), output
    assert output.stderr == NOTE.format(NAMES[platform])
    quiet = elsewhere(platform, tmp_path, words[0], "-q", *words[1:])
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (3, output.stdout, "")


@pytest.mark.parametrize("entry", ["main_python", "main_xvfb_run"])
def test_so_do_those_of_the_other_commands(entry: str, platform: str, tmp_path: Path) -> None:
    words = ["-c", SHOW, "x"] if entry == "main_python" else ["-a", sys.executable, "-c", SHOW, "x"]
    output = elsewhere(platform, tmp_path, *words, entry=entry)
    assert elsewhere(platform, tmp_path, *words, entry=entry, ANAHEADLESS_QUIET="1").stderr == ""
    assert (output.returncode, output.stdout) == (3, "['x'] None\n"), output
    assert output.stderr == NOTE.format(NAMES[platform])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["run"], 2, "nothing to run"),
        (["run", "--scren", "8x8", "x.py"], 2, "no such option: --scren"),
        (["exec", "-z", "x"], 2, "no such option: -z"),
        (["run", "--screen"], 2, "--screen needs a value"),
        (["run", "gone.py"], 127, "script not found: gone.py"),
        (["exec", "gone"], 127, "command not found: gone"),
        (["list"], 125, "anaheadless list works on Linux only"),
        (["map", "x.py", ":::", "1"], 125, "anaheadless map works on Linux only"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said(words: list[str], status: int, said: str, tmp_path: Path) -> None:
    output = elsewhere("win32", tmp_path, *words)
    assert (output.returncode, output.stdout) == (status, "")
    assert f"anaheadless: {said.removeprefix('anaheadless: ')}" in output.stderr
    assert "Traceback" not in output.stderr


def test_a_job_for_all_systems_needs_no_condition(tmp_path: Path) -> None:
    platform = "darwin"
    for words, printed in ((["start"], ""), (["start", "--json"], "{}\n"), (["start", "--github"], ""), (["stop"], "")):
        output = elsewhere(platform, tmp_path, *words)
        assert (output.returncode, output.stdout) == (0, printed)
    assert elsewhere(platform, tmp_path, "--version").stdout == run("--version").stdout
    for words in ([], ["--help"], ["run", "--help"], ["exec", "-h"]):
        assert elsewhere(platform, tmp_path, *words).stdout.startswith("Usage: anaheadless ")


def test_the_active_environment_and_uv_are_used(tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "python", 'echo "$0 $*"')
    write_program(tmp_path / "uv", 'echo "uv $*"')
    (tmp_path / "script.py").touch()
    output = elsewhere("darwin", tmp_path, "run", "script.py", "x", VIRTUAL_ENV=str(tmp_path))
    assert output.stdout == f"{tmp_path}/bin/python script.py x\n"
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert (
        elsewhere("darwin", tmp_path, "run", "--uv", "script.py", "x", PATH=path).stdout
        == "uv run --script script.py x\n"
    )


def test_code_runs_on_the_regular_display(platform: str, tmp_path: Path) -> None:
    code = f"""
import json, os, sys
sys.path.insert(0, {str(CHECKOUT)!r})
import anaheadless
anaheadless.relaunch(screen="800x600")
info = anaheadless.setup_headless()
with anaheadless.virtual_display(screen="8x8") as display:
    pass
anaheadless.stop_headless()
print(json.dumps([info.headless, info.display, display.display, display.environ == dict(os.environ)]))
"""
    (tmp_path / "pretence").mkdir()
    (tmp_path / "pretence" / "sitecustomize.py").write_text(PRETENCE.format(platform=platform))
    output = run(
        "-c",
        code,
        command=sys.executable,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "pretence"), "DISPLAY": ":77"},
    )
    assert (output.returncode, output.stderr) == (0, ""), output
    assert json.loads(output.stdout) == [False, ":77", "", True]


def test_qt_is_required_where_it_can_be_had() -> None:
    """PyPI has no PyQt5 for Linux and Windows on ARM; there, an installation must not fail."""
    markers = pytest.importorskip("packaging.requirements")
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    (line,) = [line for line in config["options"]["install_requires"].split("\n") if line.startswith("PyQt5")]
    marker = markers.Requirement(line).marker
    for system, machine, there in [
        ("linux", "x86_64", True),
        ("linux", "aarch64", False),
        ("linux", "riscv64", False),
        ("darwin", "arm64", True),
        ("darwin", "x86_64", True),
        ("win32", "AMD64", True),
        ("win32", "ARM64", False),
    ]:
        assert marker.evaluate({"sys_platform": system, "platform_machine": machine}) is there
