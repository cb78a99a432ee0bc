"""``anaheadless start``: a session for a shell, for later steps of a job, or for another process."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.cli import shell_export
from anaheadless.session import discovery
from tests.support.helpers import ANAHEADLESS, listed_sessions, run, wait_until
from tests.support.strategies import WORDS

NAMES = st.one_of(st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), WORDS, st.just("A<<END"), st.just("A\n"))


@given(st.dictionaries(NAMES, st.one_of(WORDS, st.just("END\nEND_"), st.just("\nEND\nA<<END\n"))))
def test_any_variable_for_github_is_read_as_it_was_written(changed: dict[str, str]) -> None:
    """What no shell can name is left out."""
    lines = "".join(f"{line}\n" for line in shell_export.for_github(changed)).split("\n")[:-1]
    read = {}
    while lines:
        name, end = lines.pop(0).split("<<")
        place = lines.index(end)
        read[name] = "\n".join(lines[:place])
        del lines[: place + 1]
    assert read == {name: value for name, value in changed.items() if name.isascii() and name.isidentifier()}


def shell(script: str, program: str = "sh", **settings: object) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "ANAHEADLESS": ANAHEADLESS, "ANAHEADLESS_GL": "none"}
    environ.pop("ANAHEADLESS_SESSION", None)
    return run("-c", script, command=shutil.which(program) or program, env={**environ, **dict(settings)})


STARTED = "; xdpyinfo | head -1; echo $DISPLAY; "


@pytest.mark.parametrize(
    ("program", "start"),
    [
        ("sh", 'eval "$($ANAHEADLESS start)"'),
        ("bash", 'eval "$($ANAHEADLESS start)"'),
        ("zsh", 'eval "$($ANAHEADLESS start)"'),
        ("fish", "$ANAHEADLESS start --shell fish | source"),
        ("tcsh", "eval `$ANAHEADLESS start --shell csh`"),
    ],
)
@pytest.mark.needs("xdpyinfo")
def test_a_shell_has_a_display_until_it_ends(program: str, start: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")
    output = shell(f"{start}{STARTED}$ANAHEADLESS list", program)
    assert (output.returncode, output.stderr) == (0, "")
    shown, display, *lines = output.stdout.splitlines()
    assert shown == f"name of display:    {display}"
    assert display in [line.split()[0] for line in lines]
    wait_until(lambda: display not in listed_sessions(), "ended with its shell")


@pytest.mark.needs("xdpyinfo")
def test_stop_ends_the_display_and_the_shell_goes_on() -> None:
    output = shell('eval "$($ANAHEADLESS start)"; echo $DISPLAY; $ANAHEADLESS stop; xdpyinfo 2>&1; echo on')
    display, *_, last = output.stdout.splitlines()
    assert (output.returncode, last) == (0, "on")
    assert "unable to open display" in output.stdout
    assert display not in listed_sessions()


def test_another_process_has_a_display_until_it_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as process:
        said = run("start", "--gl", "none", "--json", "--pid", str(process.pid))
        assert (said.returncode, said.stderr) == (0, "")
        variables = json.loads(said.stdout)
        row = listed_sessions()[variables["DISPLAY"]]
        assert (row["target"], row["purpose"]) == (process.pid, "start")
        process.kill()
    wait_until(lambda: variables["DISPLAY"] not in listed_sessions(), "ended with that process")


def test_later_steps_of_a_job_have_the_display(tmp_path: Path) -> None:
    """Its steps are shells of one runner; the display outlives the first of them."""
    file = tmp_path / "env"
    file.write_text("BEFORE=1\n")
    runner = (
        "import subprocess, sys; subprocess.run(['sh', '-c', sys.argv[1] + ' start --github --gl none'], check=True);"
        "print(open(sys.argv[2]).read(), flush=True); print('', flush=True); input()"
    )
    command = [sys.executable, "-c", runner, ANAHEADLESS, str(file)]
    environ = {**os.environ, "GITHUB_ENV": str(file)}
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        lines = list(iter(process.stdout.readline, "\n"))
        display = lines[lines.index("DISPLAY<<END\n") + 1].strip()
        assert lines[0] == "BEFORE=1\n"
        assert listed_sessions()[display]["target"] == process.pid
        process.kill()
    wait_until(lambda: display not in listed_sessions(), "ended with the runner")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "it is not a regular file"),
        (os.mkdir, "Is a directory"),
        (lambda path: os.symlink("/dev/null", path), "it is not a regular file"),
        (lambda path: os.symlink("gone/file", path), "No such file or directory"),
    ],
    ids=["FIFO", "folder", "device", "dead link"],
)
def test_a_job_without_a_file_is_refused_at_once(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    """Nothing is waited for, and nothing started."""
    file = tmp_path / "env"
    make(file)
    output = run("start", "--github", "--start-timeout", "0.001", env={**os.environ, "GITHUB_ENV": str(file)})
    assert (output.returncode, output.stdout) == (125, "")
    assert output.stderr.startswith(f"anaheadless: can't write to the file named by GITHUB_ENV: {file}: {words}\n")


@pytest.mark.parametrize(("before", "after"), [("A=1", "A=1\n"), ("A=1\n", "A=1\n"), ("", "")])
def test_variables_are_added_in_whole_lines(before: str, after: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(before)
    command = f"{ANAHEADLESS} start --github --gl none && {ANAHEADLESS} stop $(grep -m1 '^:' {file} | cut -d, -f1)"
    output = run("-c", command, command="sh", env={**os.environ, "GITHUB_ENV": str(file)})
    assert (output.returncode, output.stderr) == (0, "")
    assert re.match(rf"{after}ANAHEADLESS_SESSION<<END\n:\d+,\d+\nEND\nDISPLAY<<END\n", file.read_text())


def test_what_can_not_be_written_whole_is_not_written(tmp_path: Path) -> None:
    """Half a variable would break the step; and nobody would know of the display."""
    file, size = tmp_path / "env", 1 << 22
    file.write_bytes(bytes(size - 20))
    output = run(
        *("start", "--github", "--gl", "none", "--pid", str(os.getpid())),
        env={**os.environ, "GITHUB_ENV": str(file)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )
    assert output.returncode == 125
    assert f"{file}: File too large\n" in output.stderr
    assert file.stat().st_size == size - 20
    assert os.getpid() not in [session.target for session in discovery.sessions()]


@pytest.mark.parametrize("stdout", [">&-", "1</dev/null"])
def test_without_a_standard_output_nothing_is_started(stdout: str) -> None:
    """Nobody would know of the display."""
    words = f"{ANAHEADLESS} start --gl none --pid {os.getpid()} {stdout}"
    output = run("-c", words, command="sh")
    assert output.returncode == 125
    assert "standard output is closed" in output.stderr or "the output can't be written: Bad file" in output.stderr
    assert "Traceback" not in output.stderr
    assert os.getpid() not in [session.target for session in discovery.sessions()]


def test_a_failure_writes_nothing_for_programs() -> None:
    output = run("start", "--gl", "none", "--server-arg=-nonsense", "--json")
    assert (output.returncode, output.stdout) == (125, "")
    assert "-nonsense" in output.stderr
    output = run("start", "--pid", "4194303", "--gl", "none", "--json")
    assert (output.returncode, output.stdout) == (125, "")
    assert "process 4194303" in output.stderr
    output = run("start", "--github", env={**os.environ, "GITHUB_ENV": ""})
    assert (output.returncode, output.stdout) == (2, "")


@pytest.mark.parametrize(("option", "status"), [("--screen=big", 2), ("--server-arg=-nonsense", 125)])
@pytest.mark.parametrize("program", ["sh", "bash", "zsh", "fish", "tcsh"])
def test_a_failure_is_one_in_the_shell_too(program: str, option: str, status: int) -> None:
    """Which would evaluate nothing, and be content."""
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")
    words = f'eval "$({ANAHEADLESS} start --gl none {option})"'
    if program == "fish":
        words = f"{ANAHEADLESS} start --gl none --shell fish {option} | source"
    elif program == "tcsh":
        words = f"eval `{ANAHEADLESS} start --gl none --shell csh {option}`"
    assert run("-c", words, command=program).returncode == status
    if program == "sh":
        assert run("-e", "-c", f"{words}; echo went on", command=program).stdout == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_is_left_of_an_interrupted_start(number: int) -> None:
    """Nobody has been told of the display."""
    command = [ANAHEADLESS, "start", "--fresh", "--pid", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        wait_until(lambda: os.getpid() in [session.target for session in discovery.sessions()], "there is a keeper")
        process.send_signal(number)
        assert process.stdout.read() == b""
    assert process.returncode == -number
    wait_until(lambda: os.getpid() not in [session.target for session in discovery.sessions()], "nobody keeps it")


def test_a_shell_that_has_ended_gets_no_display(tmp_path: Path) -> None:
    """It has ended before it could be asked for its PID."""
    said = tmp_path / "said"
    # A FIFO has it wait until the shell is gone.
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = f"(read line <{gate}; exec {ANAHEADLESS} start --gl none) >{said} 2>&1 &"
    subprocess.run(["setsid", "sh", "-c", command], check=True)
    gate.write_text("go\n")
    words = ("sh -c 'exit 125'", "the calling shell has ended already")
    wait_until(lambda: said.exists() and all(each in said.read_text() for each in words), "it is refused")


ODD = {"A": 'it\'s \\ "$x" `y` !z', "B": None, "C": "", "E": "two\nlines", "F": "=ls", "G": "~/*"}
# What the kernel takes for a name, and a shell would run.
ODD_NAMES = {
    "BASH_FUNC_x%%": "() { :; }",
    "X;touch F;Y": "1",
    "A<<E": "1",
    "1A": "1",
    "A B": None,
    "é": "1",
    "a\n": "1",
}


@pytest.mark.parametrize("program", ["sh", "bash", "zsh", "fish", "tcsh"])
def test_odd_values_arrive_in_the_shell(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")
    kind = {"fish": "fish", "tcsh": "csh"}.get(program, "sh")
    show = f"exec {sys.executable} -c 'import json, os; print(json.dumps([os.environ.get(n) for n in \"ABCEFG\"]))'"
    lines = shell_export.for_shell({**ODD, **ODD_NAMES}, kind)
    output = run("-c", "\n".join([*lines, show]), command=program, env={**os.environ, "B": "1"})
    assert output.stderr == ""
    assert json.loads(output.stdout) == list(ODD.values())


@pytest.mark.parametrize("shell", ["sh", "fish", "csh"])
def test_values_are_always_quoted(shell: str) -> None:
    """For =ls, zsh would put the path of ls."""
    (line,) = shell_export.for_shell({"A": "=ls"}, shell)
    assert "'=ls'" in line


def test_functions_that_bash_exports_are_not_printed(tmp_path: Path) -> None:
    """Nor is anything else with such a name, wherever it comes from."""
    (tmp_path / "anaheadless").mkdir()
    (tmp_path / "anaheadless" / "config.toml").write_text(f'env."X;touch {tmp_path}/F;Y" = "1"\n')
    environ = {**os.environ, "BASH_FUNC_x%%": "() { :; }", "A;B": "1"}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        output = run("start", "--gl", "none", "--pid", str(process.pid), env=environ)
        process.kill()
    assert output.returncode == 0
    assert "BASH_FUNC" not in output.stdout
    assert "A;B" not in output.stdout
    output = run(
        "-c", f'eval "$({ANAHEADLESS} start)"', command="sh", env={**environ, "XDG_CONFIG_HOME": str(tmp_path)}
    )
    assert output.returncode == 2
    assert "can't be the name of a variable" in output.stderr
    assert not (tmp_path / "F").exists()


def test_odd_values_arrive_in_github_actions() -> None:
    assert shell_export.for_github({"A": "1", "B": None, "C": "END\nEND_", **ODD_NAMES}) == [
        *("A<<END", "1", "END"),
        *("B<<END", "", "END"),
        *("C<<END__", "END\nEND_", "END__"),
    ]
    assert shell_export.changes({"A": "1", "B": "2", "C": "3"}, {"A": "1", "B": "4", "D": ""}) == {
        "B": "4",
        "C": None,
        "D": "",
    }
