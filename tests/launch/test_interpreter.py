"""Which Python a script runs in: the one that is named, uv's, that of the active environment, or ours."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anaheadless.cli.config_file import wants_more
from tests.support.helpers import ANAHEADLESS, BIN, run
from tests.support.terminal import on_terminal

SHOW = "import sys; print(sys.prefix)"
NO_GL = ("run", "--gl", "none")


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment that anaheadless is not installed in, as when pipx or uvx has installed it."""
    folder = tmp_path_factory.mktemp("active") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def script_of(folder: Path, metadata: str = "") -> Path:
    block = "".join(f"# {line}\n" for line in ["/// script", *metadata.splitlines(), "///"]) if metadata else ""
    (folder / "script.py").write_text(block + SHOW)
    return folder / "script.py"


def active(venv: Path | str, **more: str) -> dict[str, str]:
    return {**os.environ, "VIRTUAL_ENV": str(venv), **more}


def test_a_script_runs_in_the_active_environment(venv: Path, tmp_path: Path) -> None:
    script = script_of(tmp_path)
    for words in ([str(script)], ["-c", SHOW], ["--dpi", "96", str(script)], ["--probe-timeout", "9", "-c", SHOW]):
        assert run(*NO_GL, *words, env=active(venv)).stdout == f"{venv}\n"
    output = run(str(script), command=str(BIN / "anaheadless-python"), env=active(venv, ANAHEADLESS_GL="none"))
    assert output.stdout == f"{venv}\n"
    for words in (["--python", sys.executable], ["-v", "--python", sys.executable]):
        assert run(*NO_GL, *words, str(script), env=active(venv)).stdout == f"{sys.prefix}\n"


@pytest.mark.parametrize("folder", ["", "/gone", sys.prefix, f"{sys.prefix}/../{Path(sys.prefix).name}"])
def test_an_environment_that_is_gone_or_ours_changes_nothing(folder: str, tmp_path: Path) -> None:
    output = run(*NO_GL, "-v", "-c", SHOW, env=active(folder))
    assert output.stdout == f"{sys.prefix}\n"
    ours = re.escape(f"{sys.prefix}/bin/")
    assert re.search(
        f"^anaheadless: interpreter: {ours}python[0-9.]*, which anaheadless is", output.stderr, re.MULTILINE
    )


def test_verbose_says_which_it_is(venv: Path, tmp_path: Path) -> None:
    said = f"anaheadless: interpreter: {venv}/bin/python, of the active virtual environment\n"
    for more in ((), ("--dpi", "96")):
        assert said in run(*NO_GL, "-v", *more, "-c", "1", env=active(venv)).stderr
    for grace in ({}, {"ANAHEADLESS_GRACE": "3"}):  # by click
        environ = active(venv, ANAHEADLESS_GL="none", ANAHEADLESS_VERBOSE="1", **grace)
        assert said in run("-c", "1", command=str(BIN / "anaheadless-python"), env=environ).stderr
    said = f"anaheadless: interpreter: {venv}/bin/python, as asked for\n"
    assert said in run(*NO_GL, "-v", "--python", f"{venv}/bin/python", "-c", "1").stderr
    assert f'python = "{venv}/bin/python"' in run("run", "--show-config", env=active(venv)).stdout


PACKAGES = 'dependencies = ["something"]'
NOT_USED = "asks for packages or a Python (PEP 723) that are not used: it runs in"


@pytest.mark.parametrize(
    ("metadata", "wanted"),
    [
        (PACKAGES, True),
        ("dependencies = []", False),
        ('requires-python = ">=3.9"', False),
        ('requires-python = ">=3.8,<4.0"', False),
        ('requires-python = ">=3.99"', True),
        ('requires-python = ">3.8, <3.9"', True),
        ("dependencies = [", False),
    ],
)
def test_only_metadata_that_want_more_are_noted(metadata: str, wanted: bool, tmp_path: Path) -> None:
    script = script_of(tmp_path, metadata)
    assert wants_more(script.read_bytes(), "script.py", in_this_python=True) is wanted
    output = run(*NO_GL, str(script))
    assert output.stdout == f"{sys.prefix}\n"
    assert (NOT_USED in output.stderr) is wanted


def test_a_note_can_be_left_out(tmp_path: Path) -> None:
    plain, decided = PACKAGES, f"{PACKAGES}\n[tool.anaheadless]\nuv = false"
    for words, metadata in ((["-q"], plain), (["--python", sys.executable], plain), ([], decided)):
        output = run(*NO_GL, *words, str(script_of(tmp_path, metadata)))
        assert (output.stdout, output.stderr) == (f"{sys.prefix}\n", "")


def path_with_uv() -> str:
    """A PATH that has the uv of the tests; without one, the test is skipped."""
    package = importlib.util.find_spec("uv")
    own = str(Path(package.origin).parents[4] / "bin") if package and package.origin else ""
    path = f"{os.environ['PATH']}:{BIN}:{own}"
    if shutil.which("uv", path=path) is None:
        pytest.skip("uv is not installed")
    return path


def test_uv_makes_the_environment_of_a_script(venv: Path, tmp_path: Path) -> None:
    environ = active(venv, UV_OFFLINE="1", UV_CACHE_DIR=str(tmp_path / "uv"), UV_PYTHON=sys.executable)
    environ["PATH"] = path_with_uv()
    for words, metadata in (
        (["--uv"], "dependencies = []"),
        ([], "dependencies = []\n[tool.anaheadless]\nuv = true"),
    ):
        output = run(*NO_GL, "-v", *words, str(script_of(tmp_path, metadata)), env=environ)
        assert output.stdout.startswith(f"{tmp_path}/uv/environments-"), output
        assert ", which uv has made for the script\n" in output.stderr
    output = run(*NO_GL, "--uv", str(script_of(tmp_path, PACKAGES)), env=environ)
    assert (output.returncode, output.stdout) == (125, "")
    assert output.stderr.startswith("anaheadless: uv can't make the script's environment: status 1\n  | ")
    status, said = on_terminal(ANAHEADLESS, *NO_GL, "--uv", str(script_of(tmp_path, PACKAGES)), env=environ)
    assert status == 125
    assert "No solution found" in " ".join(said)


def test_uv_is_refused_where_it_can_not_be(tmp_path: Path) -> None:
    script = str(script_of(tmp_path, PACKAGES))
    for words, said in (
        (["-c", "1"], "--uv needs a SCRIPT"),
        (["--python", "python3", script], "--uv and --python contradict each other"),
    ):
        output = run(*NO_GL, "--uv", *words)
        assert (output.returncode, output.stdout) == (2, "")
        assert said in output.stderr
    output = run(*NO_GL, "--uv", script, env={**os.environ, "PATH": "/gone"})
    assert (output.returncode, output.stdout) == (125, "")
    assert output.stderr.startswith(
        "anaheadless: uv is not installed, or not on PATH (/gone)\n  Install it: pip install uv"
    )
