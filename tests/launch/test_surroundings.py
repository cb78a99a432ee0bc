"""It works where it is called from: cron, containers, batch systems, other users, under itself."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import anaheadless
from tests.support.helpers import (
    ANAHEADLESS,
    CHECKOUT,
    PATIENCE,
    PROGRAMS,
    Session,
    User,
    attended,
    gcc,
    holding,
    is_running,
    run,
    wait_until,
)
from tests.support.namespaces import PrivateTmp, in_namespaces, needs_namespaces
from tests.support.plain import bare, other_python

DRAWS = "import os, subprocess; subprocess.run('xdpyinfo', stdout=subprocess.DEVNULL, check=True); print('drawn')"


def assert_draws(*options: str, **settings: Any) -> None:
    output = run("run", *options, "-c", DRAWS, **settings)
    assert (output.returncode, output.stdout, output.stderr) == (0, "drawn\n", "")


@pytest.mark.needs("xdpyinfo")
def test_it_works_with_hardly_any_variables() -> None:
    """As cron gives it, and less."""
    assert_draws(env={"PATH": "/usr/bin:/bin"})
    assert_draws(env={}, start_new_session=True)


@pytest.mark.parametrize("stdin", [None, subprocess.DEVNULL])
@pytest.mark.needs("xdpyinfo")
def test_it_works_without_a_standard_input(stdin: int | None) -> None:
    assert_draws(stdin=stdin, preexec_fn=None if stdin else lambda: os.close(0))


@pytest.mark.needs("xdpyinfo")
def test_it_works_where_the_parent_ignores_or_blocks_signals() -> None:
    """An X server takes an ignored SIGUSR1 for a parent that waits for one; a blocked SIGTERM is inherited."""

    def odd() -> None:
        for number in signal.SIGUSR1, signal.SIGHUP, signal.SIGCHLD:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD, signal.SIGINT})

    assert_draws(preexec_fn=odd)


@pytest.mark.needs("xdpyinfo")
def test_it_works_with_eleven_hundred_descriptors() -> None:
    def open_many() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (2000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for _ in range(1100):
            os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)

    code = f"{DRAWS}; print(len(os.listdir('/proc/self/fd')) > 1100)"
    output = run("run", "-c", code, preexec_fn=open_many, close_fds=False)
    assert (output.returncode, output.stdout, output.stderr) == (0, "drawn\nTrue\n", "")


@pytest.mark.needs("xdpyinfo")
def test_variables_of_another_login_mislead_nobody() -> None:
    environ = {
        **os.environ,
        "DISPLAY": "localhost:10.0",
        "XAUTHORITY": "/gone",
        "WAYLAND_DISPLAY": "wayland-0",
        "XDG_RUNTIME_DIR": "/run/user/gone",
        "ANAHEADLESS_SESSION": ":2,1",
        "TMPDIR": "/gone",
        "GDK_BACKEND": "wayland",
    }
    assert_draws(env=environ)
    left = run("exec", "env", env=environ).stdout
    assert "wayland" not in left


@pytest.mark.needs("xdpyinfo")
def test_it_works_under_itself() -> None:
    """The inner one has its own display, and the outer one survives it."""
    with holding() as outer:
        code = f"{DRAWS}; print(os.environ['DISPLAY'] != {outer.display!r})"
        inner = run("run", "-c", code, env=outer.environ)
        assert (inner.returncode, inner.stdout) == (0, "drawn\nTrue\n")
        subprocess.run(["xdpyinfo"], env=outer.environ, check=True, stdout=subprocess.DEVNULL)


def test_stale_locks_with_pids_of_others_do_no_harm(private_tmp: PrivateTmp) -> None:
    """A container's restart leaves them, with PIDs that are somebody else's by then."""
    for number in 9990, 9991:
        (private_tmp.folder / f".X{number}-lock").write_text(f"{os.getpid():10d}\n")
    private_tmp.sockets.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(private_tmp.sockets / "X9992"))
    os.utime(private_tmp.sockets / "X9992", (0, 0))
    code = """if True:
        from anaheadless import errors
        from anaheadless.x11 import display_number
        display_number.NUMBERS = range(9990, 9994)
        claims = [display_number.claim(), display_number.claim()]
        print(sorted(claim.number for claim in claims))
        try:
            display_number.claim()
        except errors.LaunchError as error:
            print(error)
    """
    output = private_tmp.run("-c", code, command=sys.executable)
    assert output.stderr == ""
    numbers, error, *_ = output.stdout.splitlines()
    assert numbers == "[9992, 9993]"
    assert "all display numbers" in error


@pytest.mark.needs("xdpyinfo")
def test_a_server_may_make_its_sockets_itself(tmp_path: Path) -> None:
    """As Alpine builds it: it makes its sockets itself, after a lock file of its own."""
    (tmp_path / "Xvfb").write_text(f'#!/bin/sh\nunset LISTEN_FDS LISTEN_PID\nexec {shutil.which("Xvfb")} "$@"\n')
    (tmp_path / "Xvfb").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert_draws(env=environ)
    with holding(env=environ) as session:
        assert not any(variable.startswith("LISTEN") for variable in session.server.environ())
        session.process.kill()
        session.process.wait(PATIENCE)
        session.wait_until_nothing_is_left()


@pytest.mark.needs("xdpyinfo")
def test_it_works_without_pidfd(tmp_path: Path) -> None:
    """Before Linux 5.3, and in sandboxes that forbid it, the keeper looks at /proc instead."""
    (tmp_path / "forbid.c").write_text(
        """
        #include <errno.h>
        #include <linux/audit.h>
        #include <linux/filter.h>
        #include <linux/seccomp.h>
        #include <stddef.h>
        #include <sys/prctl.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
            };
            struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 1;
            execvp(argv[1], argv + 1);
            return 1;
        }
        """
    )
    gcc("-o", tmp_path / "forbid", tmp_path / "forbid.c")
    command = [str(tmp_path / "forbid"), ANAHEADLESS, "run", str(PROGRAMS / "hold.py")]
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **streams) as process:
        session = Session(process)
        subprocess.run(["xdpyinfo"], env=session.environ, check=True, stdout=subprocess.DEVNULL)
        process.kill()
    session.wait_until_nothing_is_left()
    with subprocess.Popen(command, text=True, **streams) as process:
        session = Session(process)
        session.server.kill()
        wait_until(lambda: not session.left(), "the keeper sees the server end")
        process.kill()


@pytest.mark.needs("xdpyinfo")
def test_it_works_as_an_ordinary_user(users: list[User]) -> None:
    user = users[0]
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    command = [*user.anaheadless, "run", user.hold]
    with subprocess.Popen(command, text=True, **streams, **user.settings) as process:
        session = Session(process)
        assert session.keeper.uids().real == session.server.uids().real == user.uid
        environ = {"DISPLAY": session.display, "XAUTHORITY": session.authority}
        settings = {**user.settings, "env": environ}
        subprocess.run(["/usr/bin/xdpyinfo"], check=True, stdout=subprocess.DEVNULL, **settings)
        output, errors = process.communicate(timeout=PATIENCE)
        assert (process.returncode, output, errors) == (0, "", "")
    session.wait_until_nothing_is_left()


def test_two_users_know_nothing_of_each_other(users: list[User]) -> None:
    streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with contextlib.ExitStack() as stack:
        sessions = [
            stack.enter_context(
                attended(subprocess.Popen([*user.anaheadless, "run", user.hold], text=True, **streams, **user.settings))
            )
            for user in users
        ]
        for user, own, other in zip(users, sessions, reversed(sessions)):
            listed = user.run("list").stdout
            assert own.display in listed
            assert other.display not in listed
            for command in "stop", "screenshot":
                output = user.run(command, other.display, *(("/dev/null",) if command == "screenshot" else ()))
                assert (output.returncode, output.stdout) == (125, "")
                assert f"there is no session {other.display}" in output.stderr
            assert user.run("clean").returncode == 0
        assert all(is_running(process) for each in sessions for process in (each.target, each.keeper, each.server))
        assert all(each.socket.exists() for each in sessions)


def test_a_limit_of_processes_is_said_and_nothing_is_left(users: list[User]) -> None:
    user = users[0]
    for option in "--no-shim", "--supervise":
        for limit in range(1, 7):
            output = user.run(
                *("run", option, "--gl", "none", "-c", "print('run')"),
                preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_NPROC, (n, n)),
            )
            if output.returncode:
                assert (output.returncode, output.stdout) == (125, ""), (limit, output)
                assert "ulimit" in output.stderr or "Fatal server error" in output.stderr, (limit, output)
                assert "Traceback" not in output.stderr
            else:
                assert (output.stdout, output.stderr) == ("run\n", "")
            wait_until(lambda: not user.left(), "nothing is left")


@needs_namespaces
@pytest.mark.parametrize("wrapped", [False, True], ids=["PID 1", "another"])
@pytest.mark.needs("xdpyinfo")
def test_it_works_where_processes_of_others_are_hidden(wrapped: bool, users: list[User]) -> None:
    user = users[0]
    words = ["setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups", *user.anaheadless, "exec"]
    code = f"{DRAWS}; subprocess.run({user.anaheadless + ['list']}, check=True)"
    wrapper = ["sh", "-c", '"$@"; exit $?', "sh"] if wrapped else []
    output = in_namespaces(
        *(*wrapper, *words, "--gl", "none", user.python, "-u", "-c", code),
        setup="mount -t proc -o hidepid=2 proc /proc; mount -t tmpfs -o mode=1777 none /tmp/.X11-unix",
        env=user.settings["env"],
        cwd="/",
    )
    assert (output.returncode, output.stderr) == (0, "")
    drawn, listed = output.stdout.splitlines()
    assert drawn == "drawn"
    assert "running" in listed


@needs_namespaces
@pytest.mark.needs("xdpyinfo")
def test_it_works_where_settings_of_the_kernel_are_masked() -> None:
    """As container runtimes mask them."""
    setup = "mount -t tmpfs -o ro none /proc/sys"
    output = in_namespaces(ANAHEADLESS, "run", "-c", DRAWS, setup=setup)
    assert (output.returncode, output.stdout, output.stderr) == (0, "drawn\n", "")


@needs_namespaces
@pytest.mark.needs("xdpyinfo")
def test_it_works_with_a_read_only_home() -> None:
    environ = {**os.environ, "HOME": "/mnt"}
    output = in_namespaces(ANAHEADLESS, "run", "-c", DRAWS, setup="mount -t tmpfs -o ro none /mnt", env=environ)
    assert (output.returncode, output.stdout, output.stderr) == (0, "drawn\n", "")


@needs_namespaces
@pytest.mark.needs("xdpyinfo")
def test_it_works_in_a_private_tmp() -> None:
    """As batch systems make it for a job (job_container/tmpfs); without root, too."""
    setup = "mount -t tmpfs none /tmp"
    output = in_namespaces(
        ANAHEADLESS, "run", "-c", f"{DRAWS}; print(oct(os.stat('/tmp/.X11-unix').st_mode))", setup=setup
    )
    assert (output.returncode, output.stdout, output.stderr) == (0, "drawn\n0o41777\n", "")


@needs_namespaces
@pytest.mark.needs("xdpyinfo")
def test_nothing_is_left_when_a_container_ends() -> None:
    """A container's end kills the keeper in the same stroke as the target."""
    setup = "mount -t tmpfs none /tmp"
    waiting = (
        'for i in $(seq 1000); do [ -z "$(ls -A /tmp/.X11-unix)" ] && break; sleep 0.01; done; ls -A /tmp/.X11-unix'
    )
    output = in_namespaces("sh", "-c", f'{ANAHEADLESS} run -c "{DRAWS}"; {waiting}', setup=setup)
    assert (output.returncode, output.stdout, output.stderr) == (0, "drawn\n", "")


@needs_namespaces
def test_a_proc_of_another_namespace_is_refused() -> None:
    """There the keeper's PID is somebody else's, and so would be the cookie."""
    unshare = ["unshare", *(() if os.geteuid() == 0 else ("-r",)), "-p", "-f", "--kill-child"]
    output = subprocess.run([*unshare, ANAHEADLESS, "run", "-c", "1"], capture_output=True, text=True, timeout=60)
    assert (output.returncode, output.stdout) == (125, "")
    assert "/proc" in output.stderr


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"LC_ALL": "POSIX"}]
)
def test_variables_survive_any_locale(locale: dict[bytes, bytes]) -> None:
    environ = {b"PATH": os.environb[b"PATH"], b"ODD": "é€".encode() + b"\xff", **locale}
    command = [ANAHEADLESS, "exec", "--gl", "none", "env", "-0"]
    output = subprocess.run(command, env=environ, stdout=subprocess.PIPE, timeout=60)
    assert "é€".encode() + b"\xff" in output.stdout
    assert b"LC_CTYPE" not in output.stdout


def test_a_closed_or_full_standard_error_changes_no_status() -> None:
    """What can't be said is not said elsewhere, and changes no status."""
    for redirection in "2>&-", "2>/dev/full":
        for words, status, said in (
            ("run gone.py", 127, ""),
            ("run --gl magic gone.py", 2, ""),
            ("run -v --gl none -c 'print(5)'", 0, "5\n"),
        ):
            if redirection == "2>/dev/full" and status == 2:
                continue  # click's own message
            output = subprocess.run(
                ["sh", "-c", f"{ANAHEADLESS} {words} {redirection}"], stdout=subprocess.PIPE, text=True, timeout=60
            )
            assert (output.returncode, output.stdout) == (status, said), (redirection, words)


def test_a_server_may_stand_behind_a_wrapper(tmp_path: Path) -> None:
    (tmp_path / "Xvfb").write_text(f'#!/bin/sh\n{shutil.which("Xvfb")} "$@"\nexit $?\n')
    (tmp_path / "Xvfb").chmod(0o755)
    with holding(env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}) as session:
        (server,) = session.server.children()
        session.process.kill()
        session.process.wait(PATIENCE)
        session.wait_until_nothing_is_left()
        wait_until(lambda: not is_running(server), "the real server is gone")


@pytest.mark.needs("xdpyinfo")
def test_it_works_with_an_interpreter_built_for_an_old_system(tmp_path: Path) -> None:
    """Conda's and uv's lack these. The keeper reads no sitecustomize: test_it_works_without_pidfd is about it."""
    (tmp_path / "sitecustomize.py").write_text("import os\ndel os.memfd_create, os.pidfd_open\n")
    (tmp_path / "files").mkdir()
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path / "files")}
    assert_draws(env=environ)
    with holding(env=environ) as session:
        subprocess.run(["xdpyinfo"], env=session.environ, check=True, stdout=subprocess.DEVNULL)
        assert os.listdir(tmp_path / "files") == []


@pytest.mark.needs("xdpyinfo")
def test_it_works_with_a_moved_interpreter() -> None:
    """It finds its own library only through PYTHONHOME."""
    assert_draws(env={**os.environ, "PYTHONHOME": sys.base_prefix})


@pytest.mark.parametrize("name", ["python3.9", "python3.10", sys.executable])
@pytest.mark.needs("xdpyinfo")
def test_nothing_is_imported_from_the_working_directory(name: str, tmp_path: Path) -> None:
    """With PYTHONHOME, Python does not leave it out by itself."""
    for module in "os", "signal", "socket", "select":
        (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    # The interpreter's own start-up, and the keeper's, which has been told more of.
    python = other_python(name)
    prefix = run("-c", "import sys; print(sys.base_prefix)", command=python).stdout.strip()
    environ = {**bare(PYTHONHOME=prefix), "PYTHONPATH": str(CHECKOUT)}
    launch = "import sys; sys.path[:] = sys.path[1:]; from anaheadless.cli.entry import main; main()"
    words = ("-S", "-c", launch, "exec", "--gl", "none", "xdpyinfo")
    output = run(*words, command=python, cwd=tmp_path, env=environ)
    assert (output.returncode, output.stderr) == (0, "")
    assert not (tmp_path / "imported").exists()


def test_a_limit_of_descriptors_is_said_and_nothing_is_left(private_tmp: PrivateTmp) -> None:
    for limit in 12, 16:
        output = private_tmp.run(
            *("run", "-c", "1"),
            preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)),
        )
        assert output.returncode == 125
        assert "ulimit" in output.stderr
        assert "Traceback" not in output.stderr
    private_tmp.wait_until_nothing_is_left()


def test_it_works_where_the_interpreters_name_is_made_up() -> None:
    command = ["bash", "-c", f'exec -a odd {sys.executable} -m anaheadless run --gl none -c "print(6)"']
    # Some builds find no virtual environment, either, by a made-up name.
    path = f"{Path(str(anaheadless.__file__)).parent.parent}:{Path(str(click.__file__)).parent.parent}"
    environ = {**os.environ, "PYTHONPATH": path}
    assert subprocess.check_output(command, env=environ, text=True, timeout=60) == "6\n"
