"""Sessions can be listed, looked at, and stopped, by their owner, from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from anaheadless.session import discovery, protocol
from tests.support.helpers import ANAHEADLESS, PATIENCE, SOCKETS, holding, is_running, listed_sessions, run, wait_until
from tests.support.namespaces import PrivateTmp


def test_list_shows_what_a_session_is() -> None:
    with holding("--screen", "640x480") as session:
        row = listed_sessions()[session.display]
        facts = session.facts
        assert {name: row[name] for name in ("target", "keeper", "server")} == {
            name: facts[name] for name in ("target", "keeper", "server")
        }
        assert (row["state"], row["purpose"], row["backend"]) == ("running", "run", "native")
        assert "hold.py" in str(row["command"])
        assert str(row["renderer"])
        assert isinstance(row["hardware"], bool)
        assert row["server_kind"] == os.environ.get("ANAHEADLESS_SERVER", "xvfb")
        assert isinstance(row["age"], float)
        assert 0 <= row["age"] < PATIENCE
        assert isinstance(row["server_memory"], int)
        assert row["server_memory"] > 2**20
        (line,) = [line for line in run("list").stdout.splitlines() if line.startswith(session.display)]
        assert line.split()[1:3] == [str(facts["target"]), "running"]
        assert line.split()[5:7] == ["native", "hardware" if row["hardware"] else "software"]
        assert "hold.py" in line
    assert session.display not in listed_sessions()


def test_list_shows_displays_of_plain_programs() -> None:
    code = "import anaheadless; print(anaheadless.setup_headless(need_opengl=False).display, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        display = process.stdout.readline().strip()
        row = listed_sessions()[display]
        process.stdin.write("\n")
        process.stdin.close()
    assert (row["purpose"], row["target"], row["hardware"]) == ("display", process.pid, None)


@pytest.mark.parametrize("way", ["display", "number", "target", "inside"])
def test_stop_ends_the_program_and_leaves_others(way: str) -> None:
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


@pytest.mark.server("xvfb")
def test_a_session_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    server = tmp_path / "Xvfb"
    server.write_text("#!/bin/sh\nexec sleep 1000\n")
    server.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [ANAHEADLESS, "exec", "--gl", "none", "true"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: any(row["target"] == process.pid for row in listed_sessions().values()), "it is listed")
        assert run("stop", str(process.pid)).returncode == 0
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    assert "the session was stopped while it was starting" in errors


@pytest.mark.parametrize("name", [":1", "999999999", "nonsense", "", "-1"])
def test_stop_says_that_there_is_no_session(name: str) -> None:
    output = run("stop", "--", name)
    assert (output.returncode, output.stdout) == (125, "")
    assert output.stderr.startswith(f"anaheadless: there is no session {name}\n")


def test_stop_ends_a_program_that_ignores_it() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True)); print(flush=True)"
    command = [ANAHEADLESS, "run", "--gl", "none", "-c", f"{code}\nwhile True: time.sleep(1)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        assert run("stop", "--grace", "0.2", str(process.pid)).returncode == 0
        assert process.wait(PATIENCE) == -signal.SIGKILL
        assert process.stdout.read() == "no\n"


@pytest.mark.parametrize("who", ["target", "keeper", "server"])
def test_stop_ends_a_session_of_which_a_process_is_suspended(who: str) -> None:
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


def test_stop_ends_a_session_at_any_moment_of_its_start() -> None:
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
