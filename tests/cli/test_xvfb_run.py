"""What xvfb-run's manual page says of each option holds for what takes its place, and for ``exec``."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from tests.support.helpers import ANAHEADLESS, CHECKOUT, SOCKETS, holding, run, wait_until

XVFB_RUN = (sys.executable, str(CHECKOUT / "bin" / "anaheadless-xvfb-run"))
WITHOUT_GL = {**os.environ, "ANAHEADLESS_GL": "none"}
CALLS = [pytest.param(XVFB_RUN, id="xvfb-run"), pytest.param((ANAHEADLESS, "exec"), id="exec")]
SHOW = ("sh", "-c", "xdpyinfo; exit 3")
# One that no other test of this process has, and no launch of others takes.
NUMBER = 10000 + os.getpid() % 40000


def call(command: tuple[str, ...], *words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return run(*command[1:], *words, command=command[0], **{"env": WITHOUT_GL, **settings})


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.needs("xdpyinfo")
def test_the_screen_is_what_the_server_arguments_say(command: tuple[str, ...]) -> None:
    words = "-ac -screen 0 800x600x24 -dpi 100 -nolisten tcp -nolisten inet6 :1 +xinerama"
    for options in (("-a", "-s", words), (f"--server-args={words}", "--auto-servernum", "--wait=1"), ("-ds", words)):
        output = call(command, *options, *SHOW)
        assert (output.returncode, output.stderr) == (3, "")
        assert re.search(r"dimensions: +800x600 .*\s+resolution: +100x100", output.stdout)
        assert "XINERAMA" in output.stdout


@pytest.mark.parametrize("command", CALLS)
def test_the_number_can_be_chosen(command: tuple[str, ...]) -> None:
    show = ("sh", "-c", "echo $DISPLAY")
    for options in (("-n", str(NUMBER)), (f"--server-num={NUMBER}", "-w", "3"), ("--display-number", str(NUMBER))):
        output = call(command, *options, *show)
        assert (output.stdout, output.stderr) == (f":{NUMBER}\n", "")
        wait_until(lambda: not (SOCKETS / f"X{NUMBER}").exists(), "it is free again")
    with holding("--gl", "none", "--display-number", str(NUMBER)):
        output = call(command, "-n", str(NUMBER), *show)
        assert (output.returncode, output.stdout) == (125, "")
        assert output.stderr.startswith(f"anaheadless: display :{NUMBER} is in use\n  Choose another --display-number")
        assert call(command, "-an", str(NUMBER), *show).stdout not in ("", f":{NUMBER}\n")


@pytest.mark.parametrize("command", CALLS)
@pytest.mark.needs("xdpyinfo", "xauth")
def test_the_cookie_is_put_into_the_file(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "authority"
    subprocess.run(["xauth", "-f", file, "add", ":77", ".", "00" * 16], check=True, capture_output=True)
    for _ in range(2):  # it is replaced, not added
        output = call(command, "-n", str(NUMBER), "-f", str(file), "sh", "-c", f"XAUTHORITY={file} xdpyinfo | head -1")
        assert output.stdout.split() == ["name", "of", "display:", f":{NUMBER}"], output
        wait_until(lambda: not (SOCKETS / f"X{NUMBER}").exists(), "it is free again")
    listed = run("-f", file, "list", command="xauth").stdout.split()
    assert sum(word.endswith(f":{NUMBER}") for word in listed) == 2  # for this host, and for any
    assert sum(word.endswith(":77") for word in listed) == 1
    assert file.stat().st_mode & 0o077 == 0
    output = call(command, "--auth-file=/gone/file", "true")
    assert (output.returncode, output.stdout) == (125, "")
    assert "can't write the cookie: /gone/file: No such file" in output.stderr


@pytest.mark.parametrize("command", CALLS)
def test_the_errors_are_in_the_file(command: tuple[str, ...], tmp_path: Path) -> None:
    for number, options in enumerate((("-e", "errors"), ("--error-file=errors",))):
        assert call(command, *options, "true", cwd=tmp_path).returncode == 0
        wait_until(lambda n=number: (tmp_path / "errors").read_text().count("nothing is left") == n + 1)  # type: ignore[misc]


@pytest.mark.server("xvfb")
def test_the_server_can_listen_on_tcp() -> None:
    def connects(*options: str) -> str:
        code = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {6000 + NUMBER})))"
        wait_until(lambda: not (SOCKETS / f"X{NUMBER}").exists(), "it is free")
        environ = {**WITHOUT_GL, "ANAHEADLESS_FRESH": "1", "XDG_CACHE_HOME": "/dev/null"}  # waits for the server
        return call(XVFB_RUN, *options, "-n", str(NUMBER), sys.executable, "-c", code, env=environ).stdout

    assert connects("-l") == "0\n"
    assert connects("--listen-tcp") == "0\n"
    assert connects() != "0\n"


def test_other_protocols_are_said_not_to_be_there() -> None:
    for protocol in ".", "MIT-MAGIC-COOKIE-1":
        assert call(XVFB_RUN, "-p", protocol, "true").stderr == ""
    output = call(XVFB_RUN, "--xauth-protocol=XDM-AUTHORIZATION-1", "true")
    assert output.returncode == 0
    assert output.stderr == "anaheadless: not XDM-AUTHORIZATION-1: the protocol is always MIT-MAGIC-COOKIE-1\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Missing argument 'COMMAND'"),
        (("-n", "x", "true"), "'--server-num': 'x' is not a number from 0 to 59535"),
        (("-s", "-screen 1 8x8", "true"), "--server-args: there is only one screen"),
        (("-s", "-screen 0 8", "true"), "--server-args: '8' is not WIDTHxHEIGHT"),
        (("-z", "true"), "No such option '-z'"),
    ],
    ids=str,
)
def test_a_wrong_call_is_refused(words: tuple[str, ...], said: str) -> None:
    output = call(XVFB_RUN, *words)
    assert (output.returncode, output.stdout) == (2, "")
    assert said in output.stderr


def test_its_help_is_about_its_own_options() -> None:
    for option in "-h", "--help":
        output = call(XVFB_RUN, option)
        assert output.returncode == 0
        assert "-e, --error-file FILE" in output.stdout
        assert "--screen " not in output.stdout
    assert "--error-file" not in run("exec", "--help").stdout


def test_the_command_runs_without_opengl(tmp_path: Path) -> None:
    """As it does under xvfb-run."""
    environ = {**os.environ, "LD_PRELOAD": "", "LIBGL_ALWAYS_SOFTWARE": "1", "MESA_LOADER_DRIVER_OVERRIDE": "gone"}
    environ |= {"GALLIUM_DRIVER": "gone", "__GLX_VENDOR_LIBRARY_NAME": "gone", "XDG_CACHE_HOME": str(tmp_path)}
    words = ("--timeout", "20", "sh", "-c", "echo $DISPLAY ${ANAHEADLESS_GL_RENDERER-none}")
    refused = call((ANAHEADLESS, "exec"), "--gl", "native", *words, env=environ)
    assert refused.returncode == 125, "this machine has OpenGL all the same"
    output = call(XVFB_RUN, "--gl", "native", *words, env=environ)
    assert (output.returncode, output.stderr) == (0, "")
    assert re.fullmatch(r":\d+ none\n", output.stdout)


def test_a_makefile_works_with_it(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text('all:\n\t$(XVFB) -a -s "-screen 0 640x480x24" sh -c \'test -n "$$DISPLAY"\'\n')
    xvfb = " ".join(XVFB_RUN)
    output = run(f"XVFB={xvfb}", command="make", cwd=tmp_path, env=WITHOUT_GL)
    assert (output.returncode, output.stderr) == (0, "")


def test_all_commands_are_installed() -> None:
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    scripts = dict(line.split(" = ") for line in config["options.entry_points"]["console_scripts"].split("\n") if line)
    assert set(scripts) == {path.name for path in (CHECKOUT / "bin").iterdir()}
    assert all(callable(resolve_name(place)) for place in scripts.values())


def test_a_dead_display_of_any_number_is_cleaned_up() -> None:
    with holding("--gl", "none", "--display-number", str(NUMBER)) as session:
        cookie = session.authority
        session.keeper.suspend()
        for process in session.server, session.keeper:
            process.kill()
        session.process.kill()
        session.process.wait()
        for path in session.socket, Path(cookie):
            with suppress(FileNotFoundError):  # another start has removed it already
                os.utime(path, (1, 1))
        assert run("clean").returncode == 0
        assert not session.socket.exists()
        assert not os.path.exists(cookie)
