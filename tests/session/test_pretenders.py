"""What others put into shared places, or pretend to be, is not followed, waited for, believed or ended."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import anaheadless
from anaheadless.errors import LaunchError
from anaheadless.session import keeper, keeper_process
from anaheadless.session.server_failure import report
from anaheadless.system import processes
from anaheadless.x11 import display_number
from tests.support.helpers import (
    ANAHEADLESS,
    PATIENCE,
    PROGRAMS,
    Session,
    User,
    holding,
    owner,
    run,
    wait_until,
    write_program,
)
from tests.support.namespaces import PrivateTmp, in_namespaces, needs_namespaces

# A pretender's: nobody else's, who may be testing the same.
NAME = f":{10_000 + os.getpid()}"


def listed() -> dict[str, dict[str, object]]:
    output = run("list", "--json")
    assert (output.returncode, output.stderr) == (0, "")
    return {row["session"]: row for row in json.loads(output.stdout)}


@contextlib.contextmanager
def pretender(
    folder: Path, *words: str, notes: str = "good", cookie: str = "good"
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the command line of a keeper, and what tests/programs/pretender.py knows for its descriptors."""
    command = [sys.executable, str(PROGRAMS / "pretender.py"), notes, cookie, keeper.__file__, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("words", [(), (NAME,), ("x", "y", "z"), (":99999999999", "1", "1"), (":1", "x", "1")])
def test_other_programs_called_so_are_no_sessions(words: tuple[str, ...], tmp_path: Path) -> None:
    with pretender(tmp_path, *words) as process:
        assert process.pid not in {row["keeper"] for row in listed().values()}


@pytest.mark.parametrize("notes", ["fifo", "pipe", "socket", "huge", "zeros", "folder"])
def test_a_pretender_without_a_status_is_no_session(notes: str, tmp_path: Path) -> None:
    with pretender(tmp_path, NAME, str(os.getpid()), "1", notes=notes) as process:
        assert NAME not in listed()
        for command in ("screenshot", NAME, "picture.png"), ("stop", NAME):
            output = run(*command, cwd=tmp_path)
            assert output.returncode == 125
            assert f"there is no session {NAME}" in output.stderr
        assert process.poll() is None


@pytest.mark.parametrize("cookie", ["odd", "fifo", "pipe", "socket", "huge", "zeros", "folder"])
def test_a_pretender_without_a_cookie_shows_nothing(cookie: str, tmp_path: Path) -> None:
    with pretender(tmp_path, NAME, str(os.getpid()), "1", cookie=cookie) as process:
        assert listed()[NAME]["state"] == "stale"
        output = run("screenshot", NAME, tmp_path / "picture.png")
        assert output.returncode == 125
        assert f"can't take a screenshot of display {NAME}" in output.stderr
        assert process.poll() is None


@pytest.mark.parametrize("notes", ["good", "odd"])
def test_stop_leaves_a_process_that_got_the_programs_pid(
    notes: str, stranger: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """A start time tells."""
    with pretender(tmp_path, NAME, str(stranger.pid), "1", notes=notes) as process:
        assert run("stop", NAME).returncode == 0
        assert stranger.poll() is None
        assert process.wait(PATIENCE) < 0


def said_of_a_failed_start(patch: str, private_tmp: PrivateTmp) -> str:
    """With *patch* before it; and nothing is left."""
    code = f"""if True:
        import os
        import anaheadless
        from anaheadless.session import keeper_process
        from anaheadless.system import processes
        {patch}
        try:
            with anaheadless.virtual_display(gl="none", start_timeout=1.0):
                pass
        except anaheadless.LaunchError as error:
            print(error)
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            print("no child")
    """
    output = private_tmp.run("-c", code, command=sys.executable)
    assert (output.returncode, output.stderr) == (0, "")
    said, left = output.stdout.rstrip().rsplit("\n", 1)
    assert left == "no child"
    private_tmp.wait_until_nothing_is_left()
    return said


def test_a_keeper_ends_at_once_where_the_programs_pid_is_anothers(private_tmp: PrivateTmp) -> None:
    """Where there is no pidfd, the start time tells."""
    patch = 'processes.open_pidfd = lambda pid: None; processes.state = lambda pid: ("S", "1")'
    assert "ended" in said_of_a_failed_start(patch, private_tmp)


def test_a_pretender_of_another_user_is_no_session(users: list[User], tmp_path: Path) -> None:
    other = users[1]
    program = shutil.copy(PROGRAMS / "pretender.py", Path(other.hold).parent)
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    words = [other.python, program, "good", "good", "keeper.py", NAME, str(os.getpid()), "1"]
    with subprocess.Popen(words, **streams, **other.settings) as process:
        assert process.stdout
        process.stdout.readline()
        assert NAME not in listed()
        assert NAME not in users[0].run("list").stdout
        assert f"there is no session {NAME}" in run("stop", NAME).stderr
        assert process.poll() is None
        process.kill()


# What an ordinary user becomes: a setuid program that asks for a password, with a keeper's words and notes.
SETUID_PRETENDER = """
import os, sys
for place, text in (6, sys.argv[1]), (5, ""):
    descriptor = os.memfd_create("anaheadless-notes")
    os.write(descriptor, text.encode())
    os.dup2(descriptor, place)
os.execv("/bin/su", ["su", "root", "keeper.py", *sys.argv[2:]])
"""


def test_a_setuid_program_of_another_user_is_no_keeper(users: list[User], stranger: subprocess.Popen[bytes]) -> None:
    """Its folder in /proc is root's, and so are its effective rights: root must not believe it, nor kill for it."""
    notes = "server: 1\nglx: 2\nbackend: mesa\nrenderer: \noriginal_display: \npurpose: run\ncache_file: \n"
    notes += "server_kind: xvfb\n"
    start = processes.state(stranger.pid)[1]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    words = [users[0].python, "-c", SETUID_PRETENDER, notes, NAME, str(stranger.pid), start]
    with subprocess.Popen(words, **streams, **users[0].settings) as process:
        wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "su\n", "it has become su")
        if owner(f"/proc/{process.pid}") != 0:
            process.kill()
            pytest.skip("no setuid programs here")
        assert NAME not in listed()
        assert run("stop", str(stranger.pid)).returncode == 125
        assert stranger.poll() is None
        process.kill()


def test_whoever_claims_a_display_later_is_not_believed(stranger: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with holding("--gl", "none") as session:
        start = processes.state(stranger.pid)[1]
        with pretender(tmp_path, session.display, str(stranger.pid), start):
            assert listed()[session.display]["target"] == session.target.pid
            assert run("stop", str(stranger.pid)).returncode == 125
            assert run("stop", session.display).returncode == 0
            assert session.process.wait(PATIENCE) == -signal.SIGTERM
            assert stranger.poll() is None


def test_what_a_pretender_says_of_itself_is_filtered(tmp_path: Path) -> None:
    with pretender(tmp_path, NAME, str(os.getpid()), "1", notes="escapes"):
        assert listed()[NAME]["renderer"] == r"\x1b[2Jx\u202ey"


def plant(what: str, lock: Path, server: int) -> None:
    if what == "fifo":
        os.mkfifo(lock)
    elif what == "link":
        lock.symlink_to("/dev/zero")
    elif what == "folder":
        lock.mkdir()
    elif what == "lock":
        lock.write_text(f"{server:10d}\n")
    else:
        lock.write_bytes(b"\xff" * 100)


@pytest.mark.parametrize("what", ["fifo", "link", "folder", "garbage"])
def test_what_takes_the_place_of_the_lock_is_left_alone(what: str) -> None:
    """The name is free while the server runs: anybody may take it."""
    with holding("--gl", "none") as session:
        lock = Path(f"/tmp/.X{session.number}-lock")
        wait_until(lambda: not lock.exists(), "the lock is removed")
        plant(what, lock, session.server.pid)
        try:
            session.process.kill()
            session.process.wait(PATIENCE)
            wait_until(lambda: session.left() == [str(lock)], "all but the lock is gone")
        finally:
            lock.rmdir() if what == "folder" else lock.unlink()


@needs_namespaces
@pytest.mark.parametrize("what", ["mkfifo", "ln -s /dev/zero", "mkdir", "echo no number >"])
def test_an_old_file_that_is_no_lock_is_left_alone(what: str) -> None:
    lock = "/tmp/.X2000-lock"
    setup = f"mount -t tmpfs none /tmp; mkdir /tmp/.X11-unix; {what} {lock}; touch -h -d @1 {lock}"
    output = in_namespaces("sh", "-c", f"{ANAHEADLESS} clean; ls -d {lock}", setup=setup)
    assert (output.returncode, output.stdout, output.stderr) == (0, f"{lock}\n", "")


@pytest.mark.parametrize("what", ["fifo", "lock"])
def test_a_lock_of_another_user_is_left_alone(what: str, users: list[User]) -> None:
    """It names our server, and in a sticky folder we can't remove it."""
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    owner, other = users
    command = [*owner.anaheadless, "run", "--gl", "none", owner.hold]
    with subprocess.Popen(command, text=True, **streams, **owner.settings) as process:
        session = Session(process)
        lock = Path(f"/tmp/.X{session.number}-lock")
        wait_until(lambda: not lock.exists(), "the lock is removed")
        plant(what, lock, session.server.pid)
        try:
            os.chown(lock, other.uid, other.uid)
            process.kill()
            process.wait(PATIENCE)
            wait_until(lambda: not owner.left(), "nothing is left")
            assert lock.exists()
        finally:
            lock.unlink()


@needs_namespaces
@pytest.mark.parametrize("when", ["yesterday", "tomorrow"])
def test_a_clock_that_was_set_makes_nothing_immortal(when: str) -> None:
    plant = f"""
        mkdir /tmp/.X11-unix; echo 999999999 >/tmp/.X2000-lock
        {sys.executable} -c 'import socket; socket.socket(socket.AF_UNIX).bind("/tmp/.X11-unix/X2000")'
        touch -d {when} /tmp/.X11-unix/X2000 /tmp/.X2000-lock"""
    output = in_namespaces(ANAHEADLESS, "clean", setup="mount -t tmpfs none /tmp", last=plant)
    assert (output.returncode, output.stderr) == (0, "")
    # The folder of keymaps is the machine's.
    removed = [line for line in output.stdout.splitlines() if "/var/lib/xkb" not in line]
    assert removed == ["removed /tmp/.X11-unix/X2000", "removed /tmp/.X2000-lock"]


@needs_namespaces
@pytest.mark.needs("xdpyinfo")
def test_displays_with_another_users_keymap_are_left_out(users: list[User]) -> None:
    """An X server that finds one has no keyboard, and ends: every second number is like that."""
    user, other = users
    taken = "import os\nfor n in range(2000, 10000, 2): os.close(os.open(f'/tmp/server-{n}.xkm', os.O_CREAT))"
    setup = f"""
        mount -t tmpfs none /run; cp -r {user.settings["env"]["PYTHONPATH"]} /run/packages
        mount -t tmpfs -o mode=1777 none /tmp; mount -t tmpfs -o ro none /var/lib/xkb || true"""
    take = f'setpriv --reuid {other.uid} --clear-groups {user.python} -c "{taken}"'
    command = f"setpriv --reuid {user.uid} --clear-groups {' '.join(user.anaheadless)} exec --gl none xdpyinfo"
    environ = {**user.settings["env"], "PYTHONPATH": "/run/packages", "XDG_CACHE_HOME": "/tmp/cache"}
    gone = 'for i in $(seq 200); do [ -z "$(ls -A /tmp/.X11-unix)" ] && exit; sleep .05; done; exit 1'
    many = f"for i in 1 2 3 4 5 6; do {command} >/dev/null || exit; done; {gone}"
    output = in_namespaces("sh", "-c", many, setup=setup, last=take, env=environ)
    assert (output.returncode, output.stdout, output.stderr) == (0, "", "")


@needs_namespaces
@pytest.mark.needs("xdpyinfo")
@pytest.mark.server("xvfb")
def test_a_keymap_that_another_user_makes_meanwhile_does_no_harm(users: list[User], tmp_path: Path) -> None:
    """The display gets another number."""
    server = tmp_path / "Xvfb"
    server.write_text(f"""#!/bin/sh
        number=${{1#:}}
        [ -e /tmp/failed ] && exec {shutil.which("Xvfb")} "$@"
        touch /tmp/failed /tmp/server-$number.xkm
        chown {users[1].uid} /tmp/server-$number.xkm
        echo '(EE) Failed to activate virtual core keyboard: 2' >&2
        exit 1""")
    server.chmod(0o755)
    setup = f"mount -t tmpfs none /run; cp {server} /run; mount -t tmpfs none /tmp"
    environ = {**os.environ, "PATH": f"/run:{os.environ['PATH']}"}
    output = in_namespaces(
        "sh", "-c", f"{ANAHEADLESS} exec --gl none xdpyinfo && ls /tmp/failed", setup=setup, env=environ
    )
    assert (output.returncode, output.stderr) == (0, "")
    assert output.stdout.endswith("/tmp/failed\n")


def test_no_free_display_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with holding("--gl", "none") as session:
        monkeypatch.setattr(display_number, "NUMBERS", range(session.number, session.number + 1))
        with pytest.raises(LaunchError, match=f"all display numbers from {session.display} to .* in use"):
            display_number.claim()


def test_a_failing_server_is_said_though_its_words_are_gone(capfd: pytest.CaptureFixture[str]) -> None:
    """It may be killed while they are looked up."""
    report("/usr/bin/Xvfb", "/proc/999999999/fd/2", "0")
    said = capfd.readouterr().err
    assert said.startswith("anaheadless: the X server ended before it was ready: /usr/bin/Xvfb\n")
    assert "(it said nothing)" in said


STOP_ITSELF, KILL_ITSELF = "os.kill(os.getpid(), 19)", "os.kill(os.getpid(), 9)"


@pytest.mark.parametrize("what", [STOP_ITSELF, KILL_ITSELF])
@pytest.mark.needs("xdpyinfo")
def test_the_process_that_forks_a_keeper_may_end_in_any_way(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more is wanted of it."""
    monkeypatch.setattr(
        keeper_process, "FORKING_BOOTSTRAP", keeper_process.FORKING_BOOTSTRAP.replace("os._exit(0)", what)
    )
    with anaheadless.virtual_display(gl="none") as shown:
        subprocess.run(["xdpyinfo"], env=shown.environ, check=True, stdout=subprocess.DEVNULL)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def launched(patch: str, private_tmp: PrivateTmp) -> tuple[int, str]:
    """Status and standard error of the launcher with *patch* before it, whose target only ends; nothing is left."""
    code = f"""if True:
        import os, signal, sys
        from anaheadless.cli import entry
        from anaheadless.session import keeper_process
        KILL_THE_TARGET = "import os, sys; os.kill(int(sys.argv[3]), 9)\\n"
        {patch}
        sys.argv = ["anaheadless", "exec", "--fresh", "--gl", "none", "--start-timeout", "3", "true"]
        entry.main()
    """
    output = private_tmp.run("-c", code, command=sys.executable)
    private_tmp.wait_until_nothing_is_left()
    return output.returncode, output.stderr


DIES = "keeper_process.KEEPER_BOOTSTRAP = 'import os, sys; ' + {what!r}"
FORKER_DIES = "keeper_process.FORKING_BOOTSTRAP = keeper_process.FORKING_BOOTSTRAP.replace('os.setsid()', {what!r})"
NO_KEEPER = "the keeper could not be started: /usr/bin/Xvfb\n  | "


@pytest.mark.parametrize(
    ("what", "words"), [(KILL_ITSELF, f"{NO_KEEPER}(it said"), ("sys.exit('no memory')", f"{NO_KEEPER}no memory")]
)
@pytest.mark.server("xvfb")
def test_a_keeper_that_does_not_start_is_said(what: str, words: str, private_tmp: PrivateTmp) -> None:
    """By a program, and by a launcher that waits for the X server."""
    assert words in said_of_a_failed_start(FORKER_DIES.format(what=what), private_tmp)
    status, said = launched(DIES.format(what=what), private_tmp)
    assert (status, words in said) == (125, True), said


def test_a_process_that_never_forks_the_keeper_is_not_waited_for(private_tmp: PrivateTmp) -> None:
    patch = f"keeper_process.FORKING_BOOTSTRAP = {f'import os; {STOP_ITSELF}'!r}"
    assert "not ready within 1 s" in said_of_a_failed_start(patch, private_tmp)


def test_a_keeper_that_can_not_be_executed_is_said(private_tmp: PrivateTmp) -> None:
    patch = "keeper_process.this_python = lambda: '/gone/python'"
    words = "the display can't be started: No such file or directory"
    assert words in said_of_a_failed_start(f"from anaheadless.session import keeper_process; {patch}", private_tmp)
    status, said = launched(patch, private_tmp)
    assert (status, words in said) == (125, True), said


@pytest.mark.parametrize("patch", [
    "keeper_process.KEEPER_BOOTSTRAP = KILL_THE_TARGET + keeper_process.KEEPER_BOOTSTRAP",
    # Between the two forks; and what it reports finds nobody.
    "parent = os.getpid(); setsid = os.setsid; os.setsid = lambda: (setsid(), os.kill(parent, 9))",
], ids=["keeper", "between the forks"])  # fmt: skip
def test_what_a_killed_launcher_has_made_is_removed(patch: str, private_tmp: PrivateTmp) -> None:
    assert launched(patch, private_tmp) == (-signal.SIGKILL, "")


@pytest.mark.parametrize("where", ["os.setsid()", "os.write(12"])
def test_what_a_killed_program_has_made_is_removed(where: str, private_tmp: PrivateTmp) -> None:
    kill = f"os.kill(int(sys.argv[3]), 9); {where}"
    code = f"""if True:
        import anaheadless
        from anaheadless.session import keeper_process
        keeper_process.FORKING_BOOTSTRAP = keeper_process.FORKING_BOOTSTRAP.replace({where!r}, {kill!r})
        with anaheadless.virtual_display(gl="none"):
            pass
    """
    assert private_tmp.run("-c", code, command=sys.executable).returncode == -signal.SIGKILL
    private_tmp.wait_until_nothing_is_left()


def test_a_program_may_ignore_every_signal(private_tmp: PrivateTmp) -> None:
    """In C, where Python does not see it."""
    ignore = "import ctypes; [ctypes.CDLL(None).signal(number, ctypes.c_void_p(1)) for number in range(1, 32)]"
    assert launched(ignore, private_tmp) == (0, "")


def test_fork_hooks_of_a_program_do_not_run(private_tmp: PrivateTmp) -> None:
    code = """if True:
        import os, anaheadless
        os.register_at_fork(before=lambda: print("forked"))
        with anaheadless.virtual_display(gl="none"):
            pass
    """
    output = private_tmp.run("-c", code, command=sys.executable)
    assert (output.returncode, output.stdout, output.stderr) == (0, "", "")


@pytest.mark.server("xvfb")
def test_the_time_to_start_is_for_all_displays_that_are_tried(tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "Xvfb", "sleep .7", "echo 'Server is already active for display' >&2", "exit 1")
    environ = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    output = run("exec", "--gl", "none", "--start-timeout", "1", "true", env=environ)
    assert output.returncode == 125
    assert "the X server was not ready within 1 s" in output.stderr
