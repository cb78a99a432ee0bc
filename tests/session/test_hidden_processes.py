"""Targets that /proc does not show, or shows as others: their time limit holds, and stop tells the truth."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from tests.support.helpers import ANAHEADLESS, User, run
from tests.support.namespaces import in_namespaces, namespaces, needs_namespaces

HIDDEN = "import ctypes, time; ctypes.CDLL(None).prctl(4, 0); print('hidden', flush=True); time.sleep(1000)"
ENDED_BY_TERM = 128 + 15


def as_user(user: User) -> tuple[str, str]:
    """Words that make root *user* in a namespace, and what has to be set up there."""
    setup = f"""
        mount -t tmpfs none /run; cp -r {user.settings["env"]["PYTHONPATH"]} /run/packages
        mount -t proc -o hidepid=2 none /proc; mount -t tmpfs -o mode=1777 none /tmp"""
    words = f"env PYTHONPATH=/run/packages XDG_CACHE_HOME=/tmp/cache setpriv --reuid {user.uid} --clear-groups"
    return words, setup


@needs_namespaces
def test_a_time_limit_holds_for_a_hidden_program(users: list[User]) -> None:
    words, setup = as_user(users[0])
    command = f'{words} {" ".join(users[0].anaheadless)} exec --gl none --timeout .5 {users[0].python} -c "{HIDDEN}"'
    output = in_namespaces("sh", "-c", f"{command}; echo $?", setup=setup)
    assert output.stdout == f"hidden\n{ENDED_BY_TERM}\n"
    assert output.stderr.count("was still running after 0.5s: SIGTERM") == 1


@needs_namespaces
def test_stop_ends_a_hidden_program(users: list[User]) -> None:
    words, setup = as_user(users[0])
    launcher = f"{words} {' '.join(users[0].anaheadless)}"
    script = f"""
        mkfifo /tmp/said; chmod 666 /tmp/said
        {launcher} exec --gl none {users[0].python} -c "{HIDDEN}" >/tmp/said &
        read said </tmp/said; echo $said; {launcher} list; {launcher} stop $!; echo $?; wait $!; echo $?"""
    output = in_namespaces("sh", "-c", script, setup=setup)
    assert output.stderr == ""
    said, listed, *statuses = output.stdout.splitlines()
    assert said == "hidden"
    assert "running" in listed
    assert statuses == ["0", str(ENDED_BY_TERM)]


@needs_namespaces
@pytest.mark.needs("xdpyinfo")
def test_sessions_of_a_container_are_its_own() -> None:
    """The PID of a target there is another process here: what is stopped would be the display only."""
    words = [*namespaces(), ANAHEADLESS, "exec", "--gl", "none", "sh", "-c", "echo $DISPLAY; read end; xdpyinfo"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as container:
        assert container.stdin
        assert container.stdout
        display = container.stdout.readline().strip()
        assert display not in [each["session"] for each in json.loads(run("list", "--json").stdout)]
        output = run("stop", display)
        assert (output.returncode, output.stdout) == (125, "")
        assert f"there is no session {display}" in output.stderr
        container.stdin.close()
        assert f"name of display:    {display}" in container.stdout.read()


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_time_limit_holds_without_proc() -> None:
    job = "mount -t tmpfs none /proc; exec sleep 1000"
    output = in_namespaces("sh", "-c", f"{ANAHEADLESS} exec --gl none --timeout .5 sh -c '{job}'; echo $?")
    assert output.stdout == f"{ENDED_BY_TERM}\n"


has_time_namespaces = run("--time", "--boottime", "9", "true", command="unshare").returncode == 0


@pytest.mark.skipif(not has_time_namespaces, reason="no time namespaces here")
@pytest.mark.parametrize("how", [(), ("--fork",)])
@pytest.mark.needs("xdpyinfo")
def test_a_time_limit_holds_in_another_time_namespace(how: tuple[str, ...]) -> None:
    """The start times of processes differ there."""
    words = ("--time", "--boottime", "100000", *how, ANAHEADLESS, "exec", "--gl", "none")
    output = run(*words, shutil.which("xdpyinfo") or "true", command="unshare")
    assert (output.returncode, output.stderr) == (0, "")
    output = run(*words, "--timeout", ".5", "sleep", "1000", command="unshare")
    assert output.returncode in (-15, ENDED_BY_TERM)
    assert output.stderr.count("was still running after 0.5s: SIGTERM") == 1
