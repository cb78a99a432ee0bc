"""When the target is gone, so is everything else, however it went."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from anaheadless.opengl import probe
from anaheadless.session import protocol
from anaheadless.system import processes
from tests.support.helpers import (
    ANAHEADLESS,
    PATIENCE,
    PROGRAMS,
    SOCKETS,
    Session,
    gcc,
    holding,
    is_running,
    keepers_of,
    remove_socket,
    wait_until,
)
from tests.support.namespaces import PrivateTmp

ENDS = {
    "end of the script": "pass",
    "exception": "raise RuntimeError",
    "sys.exit": "import sys; sys.exit(4)",
    "os._exit": "import os; os._exit(5)",
    "SIGTERM": "import os; os.kill(os.getpid(), 15)",
    "SIGKILL": "import os; os.kill(os.getpid(), 9)",
    "SIGSEGV": "import os; os.kill(os.getpid(), 11)",
    "SIGSEGV of a thread": "import ctypes, threading; threading.Thread(target=ctypes.string_at, args=(0,)).start()",
}


def entries_of_tmp() -> set[str]:
    return {entry.name for folder in ("/tmp", SOCKETS) if os.path.isdir(folder) for entry in os.scandir(folder)}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_nothing_is_left_after(end: str) -> None:
    hold = f"exec(open({str(PROGRAMS / 'hold.py')!r}).read()); {end}"
    with subprocess.Popen(
        [ANAHEADLESS, "run", "-c", hold],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        session = Session(process)
        process.communicate(timeout=PATIENCE)
    session.wait_until_nothing_is_left()


def test_no_files_are_made_but_the_socket() -> None:
    """A session has no files: cookie and messages are memfds, and the server's lock is removed once it is ready."""
    before = entries_of_tmp()
    with holding("--gl", "none") as session:
        wait_until(lambda: not os.path.exists(f"/tmp/.X{session.number}-lock"), "the lock is removed")
        own = re.compile(rf"(?<!\d){session.number}(?!\d)")
        new = {name for name in entries_of_tmp() - before if own.search(name)}
        assert new == {f"X{session.number}"}


@pytest.mark.needs("xdpyinfo")
def test_a_program_with_an_ended_main_thread_keeps_its_display(tmp_path: Path) -> None:
    """To /proc, it looks like a zombie."""
    (tmp_path / "half.c").write_text(
        """
        #include <pthread.h>
        #include <stdio.h>
        static void *other(void *main_thread) {
            pthread_join(*(pthread_t *)main_thread, NULL);
            puts("alone"); fflush(stdout);
            getchar();
            return NULL;
        }
        int main(void) {
            static pthread_t self; pthread_t thread;
            self = pthread_self();
            pthread_create(&thread, NULL, other, &self);
            pthread_exit(NULL);
        }
        """
    )
    gcc("-pthread", "-o", tmp_path / "half", tmp_path / "half.c")
    command = [ANAHEADLESS, "exec", "sh", "-c", f'echo $DISPLAY $XAUTHORITY; exec "{tmp_path}/half"']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        display, authority = process.stdout.readline().split()
        assert process.stdout.readline() == "alone\n"
        environ = {**os.environ, "DISPLAY": display, "XAUTHORITY": authority}
        for _ in range(3):
            subprocess.run(["xdpyinfo"], env=environ, check=True, stdout=subprocess.DEVNULL)
        process.communicate("\n", timeout=PATIENCE)
    wait_until(lambda: not (SOCKETS / f"X{display[1:]}").exists(), "the socket is removed")


def test_the_server_ends_with_the_keeper() -> None:
    with holding() as session:
        session.keeper.kill()
        wait_until(lambda: not is_running(session.server), "the server is gone")
        session.process.kill()
        session.process.wait(PATIENCE)
        # A server looks gone while its threads still end, and hold its sockets.
        wait_until(lambda: {*session.left()} <= {str(session.socket)}, "at most the socket file is left")
        remove_socket(session.number)


def test_the_keeper_ends_with_the_server() -> None:
    with holding() as session:
        session.server.kill()
        wait_until(lambda: not session.left(), "keeper and socket are gone")
        assert session.process.poll() is None


def test_after_sigkill_of_everything_only_a_dead_socket_is_left_until_the_next_run(private_tmp: PrivateTmp) -> None:
    with private_tmp.holding() as session:
        for each in session.keeper, session.server, session.target:
            with contextlib.suppress(psutil.NoSuchProcess):  # the server ends with its keeper
                each.kill()
    # A server looks gone while its threads still end, and hold its sockets.
    wait_until(lambda: not is_running(session.server) and not processes.state(session.server.pid)[0], "it is gone")
    private_tmp.wait_until_left(f".X11-unix/X{session.number}")
    # A file that young may be another namespace's, between its bind and its listen.
    os.utime(private_tmp.sockets / f"X{session.number}", (0, 0))
    assert private_tmp.run("run", "--gl", "none", "-c", "pass").returncode == 0
    private_tmp.wait_until_nothing_is_left()


def test_sockets_of_others_are_left_alone(private_tmp: PrivateTmp) -> None:
    """A dead socket is removed when it is ours and in our range of numbers; all else is somebody's."""
    in_use, other_number, no_socket = (private_tmp.sockets / name for name in ("X9998", "X123", "X9997"))
    private_tmp.sockets.mkdir()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as dead:
        listener.bind(str(in_use))
        listener.listen()
        dead.bind(str(other_number))
        no_socket.touch()
        for path in in_use, other_number, no_socket:
            os.utime(path, (0, 0))
        assert private_tmp.run("run", "--gl", "none", "-c", "pass").returncode == 0
        private_tmp.wait_until_left(".X11-unix/X9998", ".X11-unix/X123", ".X11-unix/X9997")


def test_the_keeper_is_out_of_the_programs_group_and_session() -> None:
    """Neither ^Z and `kill -9 %1` of a shell nor a SIGKILL of the group is for it."""
    with holding(start_new_session=True) as session:
        assert os.getsid(session.keeper.pid) not in (os.getsid(session.target.pid), os.getsid(0))
        os.killpg(session.process.pid, signal.SIGSTOP)
        os.killpg(session.process.pid, signal.SIGKILL)
        session.process.wait(PATIENCE)
        session.wait_until_nothing_is_left()


@pytest.mark.needs("xdpyinfo")
def test_an_interrupt_of_the_group_leaves_the_program_its_display() -> None:
    """^C goes to every process of the foreground group; the script's own clean-up draws its last picture."""
    with holding(args=("SIGINT=42",), start_new_session=True) as session:
        os.killpg(session.process.pid, signal.SIGINT)
        output, _ = session.process.communicate(timeout=PATIENCE)
        assert (session.process.returncode, output) == (42, "clean-up: display works\n")


@pytest.mark.needs("xdpyinfo")
def test_sigterm_to_every_process_leaves_the_program_its_display() -> None:
    """As systemd's stop does, in no certain order."""
    with holding(args=("SIGTERM=42",)) as session:
        for process in (session.server, session.keeper, session.target):
            process.terminate()
        output, _ = session.process.communicate(timeout=PATIENCE)
        assert (session.process.returncode, output) == (42, "clean-up: display works\n")


@pytest.mark.server("xvfb")
def test_a_launcher_that_is_killed_while_it_waits_leaves_nothing(tmp_path: Path) -> None:
    stand_in = tmp_path / "Xvfb"
    stand_in.write_text(
        f"#!/bin/sh\necho $$ $1 >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/started\nexec sleep 600\n"
    )
    stand_in.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGKILL:
        with subprocess.Popen([ANAHEADLESS, "run", "-c", "pass"], env=environ) as process:
            wait_until((tmp_path / "started").exists, "the server is started")
            pid, display = (tmp_path / "started").read_text().split()
            server = psutil.Process(int(pid))
            process.send_signal(number)
            assert process.wait(PATIENCE) == -number
        wait_until(lambda server=server: not is_running(server), "the server is gone")  # type: ignore[misc]
        wait_until(lambda display=display: not (SOCKETS / f"X{display[1:]}").exists(), "the socket is gone")  # type: ignore[misc]
        (tmp_path / "started").unlink()


@pytest.mark.uncounted  # the counter may swallow a KeyboardInterrupt
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_nothing_is_left_of_a_start_that_is_killed_at_any_moment(name: str, private_tmp: PrivateTmp) -> None:
    """To the whole group, as ^C and timeout send it. Only SIGKILL may leave a dead socket, for a while."""
    for step in range(24):
        command = [*private_tmp.enter, ANAHEADLESS, "exec", "sleep", "600"]
        process = subprocess.Popen(command, start_new_session=True)
        time.sleep(0.012 * step)
        os.killpg(process.pid, signal.Signals[name])
        assert process.wait(PATIENCE) != 0
        wait_until(lambda pid=process.pid: not keepers_of(pid), "the keeper is gone")  # type: ignore[misc]

    def none_left() -> bool:
        if name == "SIGKILL":
            for left in private_tmp.left():
                os.utime(private_tmp.folder / left, (0, 0))
            private_tmp.run("exec", "--gl", "none", "true")  # sweeps
        return not private_tmp.left()

    wait_until(none_left, "no dead sockets are left")


def test_a_server_that_is_ended_while_it_starts_leaves_no_keymap(private_tmp: PrivateTmp) -> None:
    """A target that ends at once is faster than the server, which has its keyboard compiled into a file."""
    for _ in range(24):
        assert private_tmp.run("exec", "true").returncode == 0
    private_tmp.wait_until_nothing_is_left()


@pytest.mark.parametrize("number", sorted(protocol.IGNORED_SIGNALS), ids=lambda number: signal.Signals(number).name)
@pytest.mark.needs("xdpyinfo")
def test_a_signal_to_all_but_the_program_takes_no_display(number: int) -> None:
    """As batch systems send them; the target may want to save something first."""
    with holding("--gl", "none") as session:
        for process in session.keeper, session.server:
            process.send_signal(number)
        subprocess.run(["xdpyinfo"], env=session.environ, stdout=subprocess.DEVNULL, check=True)
        assert is_running(session.keeper)


@pytest.mark.needs("bash")
def test_descriptors_of_the_caller_are_not_kept() -> None:
    """Not even by the numbers that the keeper itself has a use for."""
    numbers = range(3, 16)
    opened, closed = (" ".join(f"{number}>&{to}" for number in (1, *numbers)) for to in (1, "-"))
    words = f"exec {opened}; exec {ANAHEADLESS} exec --gl none bash -c 'exec sleep 600 {closed}'"
    with subprocess.Popen(["bash", "-c", words], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.read() == b""
            assert process.poll() is None
        finally:
            process.kill()


def test_what_a_probe_has_started_ends_with_it() -> None:
    ended = probe.run_command(["sh", "-c", "sleep 600 & echo $!; exit 3"], os.environ, PATIENCE)
    assert ended.status == 3
    wait_until(lambda: not processes.is_alive(int(ended.output)), "it has ended, too")
