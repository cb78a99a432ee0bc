"""Sessions can be listed, looked at, and stopped, by their owner, from outside."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from PyQt5.QtGui import QColor, QImage

from anaheadless.cli import shell_export
from anaheadless.session import discovery, protocol
from tests.support.helpers import ANAHEADLESS, PATIENCE, SOCKETS, hanging, holding, is_running, run, wait_until
from tests.support.namespaces import PrivateTmp


def listed() -> dict[str, dict[str, object]]:
    output = run("list", "--json")
    assert (output.returncode, output.stderr) == (0, "")
    return {row["session"]: row for row in json.loads(output.stdout)}


def test_list_shows_what_a_session_is() -> None:
    with holding("--screen", "640x480") as session:
        row = listed()[session.display]
        host = session.host
        assert {name: row[name] for name in ("target", "keeper", "server")} == {
            name: host[name] for name in ("target", "keeper", "server")
        }
        assert (row["state"], row["purpose"], row["backend"]) == ("running", "run", "native")
        assert "hold.py" in str(row["command"])
        assert str(row["renderer"])
        assert isinstance(row["age"], float)
        assert 0 <= row["age"] < PATIENCE
        assert isinstance(row["server_memory"], int)
        assert row["server_memory"] > 2**20
        (line,) = [line for line in run("list").stdout.splitlines() if line.startswith(session.display)]
        assert line.split()[1:3] == [str(host["target"]), "running"]
        assert "hold.py" in line
    assert session.display not in listed()


def test_list_shows_what_programs_have_of_their_own() -> None:
    code = "import anaheadless; print(anaheadless.setup_headless(need_opengl=False).display, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        display = process.stdout.readline().strip()
        row = listed()[display]
        process.stdin.write("\n")
        process.stdin.close()
    assert (row["purpose"], row["target"]) == ("display", process.pid)


@pytest.mark.parametrize("way", ["display", "number", "target", "inside"])
def test_stop_ends_the_target_and_leaves_others(way: str) -> None:
    with holding("--gl", "none") as other, holding("--gl", "none") as session:
        environ = dict(os.environ)
        name = {
            "display": [session.display],
            "number": [str(session.number)],
            "target": [str(session.target.pid)],
            "inside": [],
        }[way]
        if way == "inside":
            environ.update(DISPLAY=session.display, ANAHEADLESS_SESSION=f"{session.display},{session.keeper.pid}")
        output = run("stop", *name, env=environ)
        assert (output.returncode, output.stdout, output.stderr) == (0, "", "")
        assert session.left() == []
        assert session.process.wait(PATIENCE) == -signal.SIGTERM
        assert all(map(is_running, (other.target, other.keeper, other.server)))


def test_stop_without_a_name_wants_to_know_which() -> None:
    environ = {name: value for name, value in os.environ.items() if name != "ANAHEADLESS_SESSION"}
    with holding("--gl", "none") as session:
        output = run("stop", env=environ)
        assert is_running(session.target)
    assert (output.returncode, output.stdout) == (2, "")
    assert "this shell is not in a session" in output.stderr
    assert session.display in output.stderr


def test_session_that_is_stopped_while_it_starts(tmp_path: Path) -> None:
    server = tmp_path / "Xvfb"
    server.write_text("#!/bin/sh\nexec sleep 1000\n")
    server.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [ANAHEADLESS, "exec", "--gl", "none", "true"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(row["target"] == process.pid for row in listed().values()), "it is listed")
        assert run("stop", str(process.pid)).returncode == 0
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    assert "the session was stopped while it was starting" in errors


@pytest.mark.parametrize("name", [":1", "999999999", "nonsense", "", "-1"])
def test_stop_of_none_says_so(name: str) -> None:
    output = run("stop", "--", name)
    assert (output.returncode, output.stdout) == (125, "")
    assert output.stderr.startswith(f"anaheadless: there is no session {name}\n")


def test_stop_of_a_target_that_does_not_want_to() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True)); print(flush=True)"
    command = [ANAHEADLESS, "run", "--gl", "none", "-c", f"{code}\nwhile True: time.sleep(1)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        assert run("stop", "--grace", "0.2", str(process.pid)).returncode == 0
        assert process.wait(PATIENCE) == -signal.SIGKILL
        assert process.stdout.read() == "no\n"


@pytest.mark.parametrize("who", ["target", "keeper", "server"])
def test_stop_of_what_is_stopped(who: str) -> None:
    with holding("--gl", "none") as session:
        process = getattr(session, who)
        process.suspend()
        if who == "keeper":  # ends it by force; the server goes with it
            run("stop", "--grace", "1", session.display)
        else:
            assert run("stop", session.display).returncode == 0
        session.wait_until_nothing_is_left()
        assert not is_running(session.target)


def children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:  # it has ended
        return []


def test_stop_of_what_is_only_starting() -> None:
    """The keeper obeys from its first moment on, which is not always seen."""
    command = [ANAHEADLESS, "exec", "--gl", "none", "true"]
    subprocess.run(command, check=True)  # the next ones wait for no server
    for _ in range(10):
        starting = None
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and starting is None:
                found = [pid for first in children(process.pid) for pid in children(first)]
                starting = discovery.inspect_keeper(found[0]) if found else None
            if starting is not None:
                with suppress(ProcessLookupError):
                    os.kill(starting.keeper, protocol.STOP)
        if starting is not None:
            socket_file = SOCKETS / f"X{starting.display[1:]}"
            wait_until(lambda path=socket_file: not path.exists(), "the socket is gone")  # type: ignore[misc]


def test_clean_removes_what_is_dead_and_nothing_else(private_tmp: PrivateTmp, tmp_path: Path) -> None:
    with private_tmp.holding("--gl", "none") as session:
        alive = private_tmp.sockets / f"X{session.number}"
        others = (private_tmp.sockets / f"X{number}" for number in range(2000, 2005) if number != session.number)
        dead, listening, link, fifo, *_ = others
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as closed:
            closed.bind(str(dead))
            listener.bind(str(listening))
            listener.listen()
            link.symlink_to(tmp_path)
            os.mkfifo(fifo)
            lock = private_tmp.folder / f".{dead.name}-lock"
            os.mkfifo(lock)
            draft = private_tmp.folder / f".t{dead.name}-lock"
            draft.touch()
            keymap = private_tmp.folder / f"server-{dead.name[1:]}.xkm"
            keymap.mkdir()  # what is no file is left alone
            made = [dead, listening, link, fifo, lock, draft, keymap]
            for path in made:
                os.utime(path, (1, 1), follow_symlinks=False)
            closed.close()
            output = private_tmp.run("clean")
        assert (output.returncode, output.stderr) == (0, "")
        assert {path.name for path in made if not os.path.lexists(path)} == {dead.name, draft.name}
        assert alive.exists()
        assert alive.name not in output.stdout


@pytest.mark.parametrize(
    ("depth", "pixel", "colour"),
    [(24, 0xFF8001, "#ff8001"), (16, 0b11111_100000_00001, "#ff8208"), (30, 0x3FF, "#0000ff")],
)
def test_screenshot_of_a_target_that_hangs(depth: int, pixel: int, colour: str, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    with hanging("--screen", f"321x123x{depth}", pixel=pixel) as process:
        output = run("screenshot", str(process.pid), picture)
        assert (output.returncode, output.stdout, output.stderr) == (0, "", "")
    image = QImage(str(picture))
    assert (image.width(), image.height()) == (321, 123)
    assert {image.pixelColor(*place).name() for place in ((0, 0), (320, 0), (160, 60), (320, 122))} == {colour}


def test_screenshot_of_a_part(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    code = (
        "from PyQt5.QtWidgets import *; app = QApplication([]); w = QWidget(); w.setStyleSheet('background: lime');"
        "w.setGeometry(40, 30, 20, 10); w.show(); print(flush=True); app.exec()"
    )
    command = [ANAHEADLESS, "run", "--gl", "none", "--screen", "200x100", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        name = str(process.pid)

        def taken() -> QImage:
            assert run("screenshot", "--crop", "21x10+40+30", name, picture).returncode == 0
            return QImage(str(picture))

        wait_until(lambda: taken().pixelColor(0, 0) == QColor("lime"), "painted")
        image = QImage(str(picture))
        assert (image.width(), image.height()) == (21, 10)
        assert image.pixelColor(19, 9) == QColor("lime")
        assert image.pixelColor(20, 5) == QColor("black")
        output = run("screenshot", "--crop", "200x100+1+0", name, tmp_path / "more.png")
        assert output.returncode == 125
        assert "which is 200x100" in output.stderr
        process.kill()
    for odd in "0x10+0+0", "10x10", "10x10+-1+0":
        assert run("screenshot", "--crop", odd, tmp_path / "more.png").returncode == 2
    assert not (tmp_path / "more.png").exists()


def test_screenshot_that_can_not_be_saved(tmp_path: Path) -> None:
    with holding("--gl", "none") as session:
        output = run("screenshot", session.display, tmp_path / "gone" / "picture.png")
    assert output.returncode == 125
    assert output.stderr.startswith(f"anaheadless: can't save the picture: {tmp_path}/gone/picture.png: No such file")


@pytest.mark.parametrize("words", [(), ("a", "b", "c")])
def test_screenshot_wants_a_file(words: tuple[str, ...]) -> None:
    assert run("screenshot", *words).returncode == 2


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
def test_start_for_a_shell(program: str, start: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")
    output = shell(f"{start}{STARTED}$ANAHEADLESS list", program)
    assert (output.returncode, output.stderr) == (0, "")
    shown, display, *lines = output.stdout.splitlines()
    assert shown == f"name of display:    {display}"
    assert display in [line.split()[0] for line in lines]
    wait_until(lambda: display not in listed(), "ended with its shell")


@pytest.mark.needs("xdpyinfo")
def test_start_is_ended_by_stop_and_the_shell_goes_on() -> None:
    output = shell('eval "$($ANAHEADLESS start)"; echo $DISPLAY; $ANAHEADLESS stop; xdpyinfo 2>&1; echo on')
    display, *_, last = output.stdout.splitlines()
    assert (output.returncode, output.stderr, last) == (0, "", "on")
    assert "unable to open display" in output.stdout
    assert display not in listed()


def test_start_for_another_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True) as process:
        said = run("start", "--gl", "none", "--json", "--pid", str(process.pid))
        assert (said.returncode, said.stderr) == (0, "")
        variables = json.loads(said.stdout)
        row = listed()[variables["DISPLAY"]]
        assert (row["target"], row["purpose"]) == (process.pid, "start")
        process.kill()
    wait_until(lambda: variables["DISPLAY"] not in listed(), "ended with that process")


def test_start_for_a_job_of_github(tmp_path: Path) -> None:
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
        assert listed()[display]["target"] == process.pid
        process.kill()
    wait_until(lambda: display not in listed(), "ended with the runner")


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
def test_start_for_a_job_without_a_file(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    """Nothing is waited for, and nothing started."""
    file = tmp_path / "env"
    make(file)
    output = run("start", "--github", "--start-timeout", "0.001", env={**os.environ, "GITHUB_ENV": str(file)})
    assert (output.returncode, output.stdout) == (125, "")
    assert output.stderr.startswith(f"anaheadless: can't write to the file named by GITHUB_ENV: {file}: {words}\n")


@pytest.mark.parametrize(("before", "after"), [("A=1", "A=1\n"), ("A=1\n", "A=1\n"), ("", "")])
def test_start_adds_whole_lines(before: str, after: str, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text(before)
    command = f"{ANAHEADLESS} start --github --gl none && {ANAHEADLESS} stop $(grep -m1 '^:' {file} | cut -d, -f1)"
    output = run("-c", command, command="sh", env={**os.environ, "GITHUB_ENV": str(file)})
    assert (output.returncode, output.stderr) == (0, "")
    assert re.match(rf"{after}ANAHEADLESS_SESSION<<END\n:\d+,\d+\nEND\nDISPLAY<<END\n", file.read_text())


def test_start_that_can_not_write_all_writes_nothing(tmp_path: Path) -> None:
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
def test_start_without_a_standard_output(stdout: str) -> None:
    """Nobody would know of the display."""
    words = f"{ANAHEADLESS} start --gl none --pid {os.getpid()} {stdout}"
    output = run("-c", words, command="sh")
    assert output.returncode == 125
    assert "standard output is closed" in output.stderr or "the output can't be written: Bad file" in output.stderr
    assert "Traceback" not in output.stderr
    assert os.getpid() not in [session.target for session in discovery.sessions()]


def test_start_that_fails_tells_programs_nothing() -> None:
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
def test_start_that_fails_fails_in_the_shell(program: str, option: str, status: int) -> None:
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
def test_start_that_is_interrupted(number: int) -> None:
    """Nobody has been told of the display."""
    command = [ANAHEADLESS, "start", "--fresh", "--pid", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        wait_until(lambda: os.getpid() in [session.target for session in discovery.sessions()], "there is a keeper")
        process.send_signal(number)
        assert process.stdout.read() == b""
    assert process.returncode == -number
    wait_until(lambda: os.getpid() not in [session.target for session in discovery.sessions()], "nobody keeps it")


def test_start_without_its_shell(tmp_path: Path) -> None:
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
def test_variables_arrive_in_the_shell(program: str) -> None:
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


def test_variables_for_github() -> None:
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
