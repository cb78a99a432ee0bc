"""``anaheadless run`` is ``python``: every way to name a program means what it means there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.helpers import ANAHEADLESS, BIN, CHECKOUT, run

REPORT = """\
import json, os, sys
print(json.dumps([[os.fsencode(a).hex() for a in sys.argv], sys.path[0], __name__, globals().get("__file__")]))
"""
ARGUMENTS = [b"-h", b"--help", b"--", b"", b"--gl", b"-m", b"-c", b"\xff\xfe", "é".encode(), b"a b"]


@pytest.fixture(params=["script", "-script", "directory", "zip", "module", "code", "stdin"])
def words(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """How a program is named, after ``python`` and after ``anaheadless run`` alike."""
    kind = request.param
    (tmp_path / "package").mkdir()
    for name in "script.py", "-script.py", "module.py", "package/__main__.py":
        (tmp_path / name).write_text(REPORT)
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", REPORT)
    return {
        "script": ["script.py"],
        "-script": ["--", "-script.py"],
        "directory": ["package"],
        "zip": [str(tmp_path / "program.zip")],
        "module": ["-m", "module"],
        "code": ["-c", REPORT],
        "stdin": ["-"],
    }[kind]


def test_every_way_to_name_a_program_is_pythons(words: list[str], tmp_path: Path) -> None:
    command = [*map(os.fsencode, words), *ARGUMENTS]
    direct, launched = (
        subprocess.run(
            [*prefix, *command], input=REPORT.encode(), stdout=subprocess.PIPE, cwd=tmp_path, check=True, timeout=60
        ).stdout
        for prefix in ([sys.executable], [ANAHEADLESS, "run", "--gl", "none"])
    )
    assert json.loads(launched) == json.loads(direct)
    assert [bytes.fromhex(argument) for argument in json.loads(launched)[0][1:]] == ARGUMENTS


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param([sys.executable, "-m", "anaheadless"], id="python -m anaheadless"),
        pytest.param([sys.executable, CHECKOUT / "bin" / "anaheadless"], id="bin/anaheadless"),
    ],
)
def test_the_command_works_by_its_other_names(prefix: list[str], tmp_path: Path) -> None:
    output = subprocess.run(
        [*prefix, "run", "-c", "print(1)"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert (output.returncode, output.stdout, output.stderr) == (0, "1\n", "")
    version = subprocess.run([*prefix, "--version"], capture_output=True, text=True, timeout=60)
    assert version.stdout.startswith("anaheadless ")


def test_a_checkout_works_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(CHECKOUT / "bin" / "anaheadless")
    output = subprocess.run(
        [tmp_path / "link", "--version"],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert output.stdout.startswith("anaheadless ")


def test_anaheadless_python_takes_the_interpreters_own_options(tmp_path: Path) -> None:
    command = str(BIN / "anaheadless-python")
    assert run("-c", "import sys; print(sys.argv)", "-v", command=command).stdout == "['-c', '-v']\n"
    assert run("--version", command=command).stdout == f"Python {sys.version.split()[0]}\n"
    assert run("-X", "utf8", "-m", "json.tool", "--help", command=command).returncode == 0
    assert run("-", command=command, stdin=None, input="print(5)").stdout == "5\n"
    assert run(tmp_path / "gone.py", command=command).returncode == 127


@pytest.mark.needs("xdpyinfo")
def test_anaheadless_python_is_set_up_by_variables() -> None:
    output = run(
        "-c",
        "import os; os.system('xdpyinfo')",
        command=str(BIN / "anaheadless-python"),
        env={
            **os.environ,
            "ANAHEADLESS_SCREEN": "321x123",
            "ANAHEADLESS_GL": "none",
            "ANAHEADLESS_SERVER_ARG": "-extension XTEST",
        },
    )
    assert "321x123 pixels" in output.stdout
    assert "GLX" not in output.stdout
    assert "XTEST" not in output.stdout


def test_a_traceback_is_pythons_own(script: Path) -> None:
    script.write_text("def fail():\n    1 / 0\n\nfail()\n")
    direct = subprocess.run([sys.executable, script], capture_output=True, text=True)
    launched = run("run", script)
    assert (launched.returncode, launched.stderr) == (direct.returncode, direct.stderr)


def test_workers_of_multiprocessing_share_the_display(script: Path) -> None:
    script.write_text(
        "import multiprocessing, os\n"
        "def display(_): return os.environ['DISPLAY']\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        "        print(set(pool.map(display, range(4))) == {os.environ['DISPLAY']})\n"
    )
    output = run("run", script)
    assert (output.returncode, output.stdout, output.stderr) == (0, "True\n", "")


def test_workers_may_be_started_by_anaheadless_python(script: Path) -> None:
    """Each worker then has a display of its own; their helpers are started with SIGTERM blocked."""
    script.write_text(
        "import multiprocessing, os\n"
        "def display(_): return os.environ.get('DISPLAY')\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context('spawn')\n"
        f"    context.set_executable({str(BIN / 'anaheadless-python')!r})\n"
        "    with context.Pool(2) as pool:\n"
        "        print(all(pool.map(display, range(4))))\n"
    )
    output = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (output.returncode, output.stdout, output.stderr) == (0, "True\n", "")


def test_another_interpreter_can_run_the_program(tmp_path: Path) -> None:
    (tmp_path / "other-python").symlink_to(sys.executable)
    code = "import sys; print(sys.executable)"
    assert run("run", "--python", tmp_path / "other-python", "-c", code).stdout.strip() == str(
        tmp_path / "other-python"
    )
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "ANAHEADLESS_PYTHON": "other-python"}
    assert run("run", "-c", code, env=environ).stdout.strip() == str(tmp_path / "other-python")
