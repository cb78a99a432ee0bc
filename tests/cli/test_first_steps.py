"""What people try first is answered: a wrong command, an option in the wrong place, an empty list, a slow start."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from anaheadless import packages
from anaheadless.cli.misplaced import misplaced
from anaheadless.errors import LaunchError
from tests.support.helpers import ANAHEADLESS, BIN, holding, run, wrapped_xvfb, write_program
from tests.support.namespaces import namespaces, needs_namespaces
from tests.support.terminal import on_terminal

NO_GL = (ANAHEADLESS, "run", "--gl", "none")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["hello.py", "x"], "run hello.py"),
        (["gone.py"], "run gone.py"),
        (["folder"], "run folder"),
        (["./program"], "exec ./program"),
        (["program"], "exec ./program"),
        (["sh", "-c", "true"], "exec sh"),
        (["sh"], "exec sh"),
        (["python3", "hello.py", "x"], "run hello.py"),
        (["python3", "-m", "this", "x"], "run -m this"),
    ],
    ids=" ".join,
)
def test_a_command_that_is_none_of_ours_is_answered(words: list[str], meant: str, tmp_path: Path) -> None:
    (tmp_path / "hello.py").touch()
    (tmp_path / "folder").mkdir()
    write_program(tmp_path / "program")
    output = run(*words, cwd=tmp_path)
    assert (output.returncode, output.stdout) == (2, "")
    assert output.stderr.endswith(f"There is no command {words[0]!r}. Did you mean: anaheadless {meant}\n")


@pytest.mark.parametrize(
    ("args", "source", "option"),
    [
        (["--screen", "8x8"], "print()", "--screen"),
        (["x", "--screen=8x8"], "print()", "--screen"),
        (["--start-timeout", "3"], "add('--timeout')", "--start-timeout"),
        (["--screen", "8x8"], "add_argument('--screen')", ""),
        (["--start-timeout", "3"], "def main(start_timeout): ...", ""),
        (["--screen", "main"], "print()", ""),
        (["--screen"], "print()", ""),
        (["--", "--screen", "8x8"], "print()", ""),
        (["-v", "--verbose", "--fresh", "--log", "x", "--python", "x"], "print()", ""),
    ],
    ids=str,
)
def test_only_an_option_that_the_script_does_not_know_is_ours(args: list[str], source: str, option: str) -> None:
    assert misplaced(args, source.encode()) == option


def test_an_option_after_the_script_is_noted_for_people_only(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text("import sys; print(*sys.argv[1:])")
    said = ["--screen 8x8"]
    note = [
        "anaheadless: --screen comes after the script, so it is passed to hello.py",
        "  If it is meant for anaheadless: anaheadless run --screen … hello.py. No note: -q",
    ]
    words = ("hello.py", "--screen", "8x8")
    assert on_terminal(*NO_GL, *words, cwd=tmp_path) == (0, note + said)
    assert on_terminal(*NO_GL, "--dpi", "96", *words, cwd=tmp_path) == (0, note + said)  # by click
    assert on_terminal(*NO_GL, "-q", *words, cwd=tmp_path) == (0, said)
    output = run(*NO_GL[1:], *words, cwd=tmp_path)
    assert (output.stdout.splitlines(), output.stderr) == (said, "")


def test_a_list_for_people_has_a_header_and_fits() -> None:
    with holding("--gl", "none", args=("SIGUSR2=0",) * 40) as session:
        header, *rows = on_terminal(ANAHEADLESS, "list", width=70)[1]
        assert header.split() == ["NAME", "PID", "STATE", "AGE", "MEM", "OPENGL", "BY", "COMMAND"]
        (row,) = [row for row in rows if row.startswith(session.display)]
        assert len(row) == 70
        assert row.index(row.split()[7]) == header.index("COMMAND")
        assert "NAME" not in run("list").stdout


@needs_namespaces
def test_an_empty_list_is_said_to_people_only() -> None:
    assert on_terminal(*namespaces(), ANAHEADLESS, "list") == (0, ["no sessions"])
    assert run(*namespaces()[1:], ANAHEADLESS, "list", command="unshare").stdout == ""


def test_a_slow_first_start_says_what_it_does(tmp_path: Path) -> None:
    environ = {**wrapped_xvfb(tmp_path, "sleep 1.5"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    note = "anaheadless: testing OpenGL, once for the next hour; -v shows more"
    call = (ANAHEADLESS, "run", "--server", "xvfb", "-c", "print(1)")
    assert on_terminal(*call, env=environ) == (0, [note, "1"])


def test_help_and_version_have_the_usual_names() -> None:
    assert run("-V").stdout == run("--version").stdout
    assert run("help").stdout.startswith("Usage: anaheadless [OPTIONS] COMMAND")
    assert run("help", "stop").stdout == run("stop", "--help").stdout
    assert run("help", "nonsense").returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes(shell: str, tmp_path: Path) -> None:
    """As it does on Tab; for zsh, only that it can read it."""
    output = run("completion", shell)
    assert (output.returncode, output.stderr) == (0, "")
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    (tmp_path / "hello.py").touch()
    environ = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    code = {
        "bash": "COMP_WORDS=(anaheadless run --gl m) COMP_CWORD=3; "
        "_anaheadless_completion $COMP_WORDS; echo $COMPREPLY",
        "zsh": "autoload compinit; whence -w _anaheadless_completion",
        "fish": "complete -C 'anaheadless run --gl m'",
    }[shell]
    if shell == "zsh":
        output = run("-fc", f"compdef() {{ }}; {output.stdout}\n{code}", command=shell, env=environ)
        assert output.stdout == "_anaheadless_completion: function\n", output
    else:
        output = run("-c", f"{output.stdout}\n{code}", command=shell, env=environ, cwd=tmp_path)
        assert output.stdout == "mesa\n", output


def completed(*words: str, environ: dict[str, str] | None = None) -> list[str]:
    """What is offered for the last of *words*."""
    asked = {"_ANAHEADLESS_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(["anaheadless", *words])}
    asked["COMP_CWORD"] = str(len(words))
    return run(env={**os.environ, **(environ or {}), **asked}).stdout.splitlines()


def test_scripts_programs_and_sessions_are_completed(tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "tool")
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    assert completed("run", "he") == ["file,he"]
    assert completed("exec", "too", environ=environ) == ["plain,tool"]
    assert completed("exec", "./t", environ=environ) == ["file,./t"]
    with holding("--gl", "none") as session:
        assert f"plain,{session.number}" in completed("stop", str(session.number)[:1])


@pytest.mark.parametrize("answer", ["y\n", "n\n", ""])
@pytest.mark.parametrize("root", [True, False])
def test_doctor_installs_what_is_missing_if_that_is_wanted(answer: str, root: bool, tmp_path: Path) -> None:
    for name in "apt-get", "sudo":
        write_program(tmp_path / "bin" / name, f'echo "$0 $*" >>{tmp_path}/done')
    (tmp_path / "bin" / "sh").symlink_to("/bin/sh")
    code = f"import os, sys; os.geteuid = lambda: {0 if root else 4711}; sys.argv[0] = 'anaheadless'\n"
    code += "from anaheadless.cli.entry import main; main()"
    environ = {"PATH": f"{tmp_path}/bin", "XDG_CACHE_HOME": str(tmp_path)}
    words = ("-c", code, "doctor", "--fix", "--server", "xvfb")
    output = run(*words, command=sys.executable, env=environ, input=answer, stdin=None)
    as_root = [] if root else ["sudo"]
    update = [*as_root, "apt-get", "update"]
    assert f"\n  {' '.join(update)} && {' '.join([*as_root, 'apt-get'])} install -y " in output.stderr
    assert output.returncode == 1  # it is a pretence
    done = tmp_path / "done"
    assert done.exists() is (answer == "y\n")
    if answer == "y\n":
        first, second = done.read_text().splitlines()
        assert first == f"{tmp_path}/bin/{' '.join(update)}"
        assert "x11-xkb-utils" in second.split()
        assert "tools" in output.stdout


def test_what_can_not_be_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(tmp_path / "bin" / "apt-get")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(LaunchError, match="there is no sudo here"):
        packages.fix_commands(["Xvfb"])
    write_program(tmp_path / "bin" / "conda")
    monkeypatch.setenv("CONDA_PREFIX", "/opt/conda")
    install = ["conda", "install", "-y", "-c", "conda-forge", "xorg-xserver-xvfb"]
    assert packages.fix_commands(["Xvfb"]) == [install]


def test_a_shell_can_forget_a_display_that_is_gone(tmp_path: Path) -> None:
    """It is told how, and has the environment of before then, but for a folder that is good for anything."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("ANAHEADLESS", "XDG_RUN"))}
    environ |= {"ANAHEADLESS": ANAHEADLESS, "DISPLAY": "nonsense:0", "PYTHONPATH": "/a:/b"}
    script = """
        printenv | grep -v ^XDG_ | sort >before
        eval "$($ANAHEADLESS start --gl none)"; $ANAHEADLESS stop; echo $DISPLAY; eval "$($ANAHEADLESS stop --unset)"
        echo ${DISPLAY-unset}
        DISPLAY=nonsense:0; export DISPLAY
        eval "$($ANAHEADLESS start --gl none)"; eval "$($ANAHEADLESS stop --unset)"
        printenv | grep -v ^XDG_ | sort | diff before -
    """
    output = run("-c", script, command="sh", env=environ, cwd=tmp_path)
    gone, unset, *different = output.stdout.splitlines()
    assert (output.returncode, unset, different) == (0, "unset", []), output
    assert gone.startswith(":")
    assert output.stderr == (
        "anaheadless: this shell still has the variables of the display\n"
        '  To remove them: eval "$(anaheadless stop --unset)"\n'
    )
