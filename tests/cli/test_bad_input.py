"""Whatever is wrong: one message that says what and what to do, the right status, and nothing started or left."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.helpers import ANAHEADLESS, BIN, User, assert_refused, run
from tests.support.namespaces import PrivateTmp, in_namespaces, needs_namespaces


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment with a stand-in for Xvfb: the shell lines that are the parameter."""
    (tmp_path / "Xvfb").write_text(f"#!/bin/sh\n{request.param}\n")
    (tmp_path / "Xvfb").chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


REFUSED = [
    (["run", "gone.py"], 127, ["script not found: gone.py"]),
    (["run", ""], 127, ["script not found"]),
    (["run", "plain/gone.py"], 127, ["script not found"]),
    (["run", "empty"], 127, ["no __main__.py", "empty"]),
    (["run", "--python", "gone-python", "plain"], 127, ["not found: gone-python", "PATH"]),
    (["run", "--python", "./gone", "plain"], 127, ["not found: ./gone"]),
    (["run", "--python", "./plain", "plain"], 126, ["not executable: ./plain", "chmod +x"]),
    (["run", "--python", "./empty", "plain"], 126, ["is a directory"]),
    (["exec", "gone-command"], 127, ["not found: gone-command"]),
    (["exec", "./plain"], 126, ["not executable: ./plain"]),
    (["run"], 2, ["SCRIPT, -m MODULE or -c CODE"]),
    (["run", "-m"], 2, ["-m"]),
    (["run", "--nonsense", "plain"], 2, ["--nonsense"]),
    (["frobnicate"], 2, ["frobnicate"]),
    (["plain"], 2, ["anaheadless run plain"]),
    (["doctor", "--render", "proof.png", "--gl", "none"], 2, ["--render"]),
    (["run", "--gl", "magic", "plain"], 2, ["magic", "native"]),
    (["run", "--dpi", "0", "plain"], 2, ["--dpi"]),
    (["run", "--start-timeout", "0", "plain"], 2, ["--start-timeout"]),
    (["run", "--start-timeout", "nan", "plain"], 2, ["--start-timeout", "nan"]),
    (["run", "--vgl-display", "gpu", "plain"], 2, ["--vgl-display", "gpu", "egl"]),
    (["run", "--gl", "virtualgl", "--no-virtualgl", "plain"], 2, ["contradict"]),
    *(
        (["run", "--screen", screen, "plain"], 2, ["--screen", screen])
        for screen in ("0x0", "99999x99999", "big", "640x480x32", "640x480x7", "640", "-1x5", "640x480x24x24", "٣x٣")
    ),
]


@pytest.mark.parametrize(("args", "status", "words"), REFUSED, ids=[" ".join(args) for args, _, _ in REFUSED])
def test_a_wrong_call_is_refused_before_anything_is_started(
    args: list[str], status: int, words: list[str], tmp_path: Path, no_server: dict[str, str]
) -> None:
    (tmp_path / "plain").write_text("print('run')")
    (tmp_path / "empty").mkdir()
    assert_refused(run(*args, cwd=tmp_path, env=no_server), status, *words)
    assert not (tmp_path / "started").exists()


def test_the_launcher_is_refused_as_an_interpreter(no_server: dict[str, str]) -> None:
    environ = {**no_server, "ANAHEADLESS_PYTHON": str(BIN / "anaheadless-python")}
    assert_refused(run("run", "-c", "1", env=environ), 125, "the launcher itself", "--python")


def test_wrong_variables_are_refused_like_wrong_options(no_server: dict[str, str]) -> None:
    assert_refused(run("run", "-c", "", env={**no_server, "ANAHEADLESS_SCREEN": "big"}), 2, "big")
    command = str(BIN / "anaheadless-python")
    assert_refused(run("-c", "", command=command, env={**no_server, "ANAHEADLESS_GL": "magic"}), 2, "magic")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root reads everything")
def test_a_script_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    (closed / "script.py").write_text("")
    without_power = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] if os.geteuid() == 0 else []
    for path, words in ((closed / "script.py", "not readable"), (closed, "can't be reached")):
        path.chmod(0)
        output = subprocess.run(
            [*without_power, ANAHEADLESS, "run", closed / "script.py"], capture_output=True, text=True, timeout=60
        )
        assert_refused(output, 126, words)
    closed.chmod(0o700)


def test_a_program_that_the_kernel_refuses_is_named(tmp_path: Path, private_tmp: PrivateTmp) -> None:
    for text, words in (("no program", "Exec format error"), ("#!/gone/interpreter\n", "first line")):
        (tmp_path / "target").write_text(text)
        (tmp_path / "target").chmod(0o755)
        assert_refused(private_tmp.run("exec", "--gl", "none", tmp_path / "target"), 126, words)
        private_tmp.wait_until_nothing_is_left()


def test_an_interpreter_that_the_kernel_refuses_is_named(tmp_path: Path, private_tmp: PrivateTmp) -> None:
    """It is the proof of OpenGL that executes it first."""
    (tmp_path / "python").write_text("no program")
    (tmp_path / "python").chmod(0o755)
    for command in ("run", "--python", tmp_path / "python", "-c", ""), ("doctor", "--python", tmp_path / "python"):
        output = private_tmp.run(*command)
        assert "Exec format error" in output.stderr + output.stdout
        assert output.returncode == (126 if command[0] == "run" else 1)
    private_tmp.wait_until_nothing_is_left()


def test_a_missing_xvfb_is_said_with_the_package_to_install(tmp_path: Path) -> None:
    for name in "sh", "apt-get", "env":
        (tmp_path / name).symlink_to("/bin/true")
    command = ("run", "--server", "xvfb", "-c", "print('run')")
    output = run(*command, env={"PATH": str(tmp_path)})
    assert_refused(output, 125, "Xvfb is not installed", "apt-get install xvfb", "conda install")
    (tmp_path / "apt-get").unlink()
    output = run(*command, env={"PATH": str(tmp_path)})
    assert_refused(output, 125, "dnf install xorg-x11-server-Xvfb", "apk add xvfb", "pacman -S xorg-server-xvfb")


def test_a_screen_that_a_server_can_not_make_is_refused() -> None:
    output = run("run", "--server", "xwayland", "--screen", "640x480x16", "-c", "print('run')")
    assert_refused(output, 125, "xwayland can't make a screen of 640x480x16; xvfb or xorg or xvnc can", "--screen")


def test_an_option_that_the_server_refuses_is_quoted(private_tmp: PrivateTmp) -> None:
    output = private_tmp.run("run", "--server-arg=-nonsense", "-c", "print('run')")
    assert_refused(output, 125, "ended before it was ready", "Unrecognized option: -nonsense", "--server-arg")
    private_tmp.wait_until_nothing_is_left()


@pytest.mark.parametrize("server", ["echo no such luck >&2; exit 1", "exit 0", "kill -SEGV $$"], indirect=True)
def test_the_last_words_of_a_server_that_dies_are_quoted(server: dict[str, str], private_tmp: PrivateTmp) -> None:
    output = private_tmp.run("run", "-c", "print('run')", env=server)
    said = "no such luck" if "no such luck" in output.stderr else "it said nothing"
    assert_refused(output, 125, "ended before it was ready", said)
    private_tmp.wait_until_nothing_is_left()


@pytest.mark.parametrize("server", ["echo still thinking >&2; exec sleep 600", "sleep 600"], indirect=True)
def test_a_server_that_never_becomes_ready_is_given_up(server: dict[str, str], private_tmp: PrivateTmp) -> None:
    output = private_tmp.run("run", "--start-timeout", "0.5", "-c", "print('run')", env=server, timeout=20)
    assert_refused(output, 125, "not ready within 0.5 s", "--start-timeout")
    private_tmp.wait_until_nothing_is_left()


def test_a_server_without_glx_is_said_with_the_way_out() -> None:
    extension = ("--server-arg=-extension", "--server-arg=GLX")
    for backend in "auto", "native":
        assert_refused(run("run", "--gl", backend, *extension, "-c", "print('run')"), 125, "no GLX", "--gl none")
    assert run("run", "--gl", "none", *extension, "-c", "print('run')").stdout == "run\n"


NEW_TMP = "mount -t tmpfs none /tmp"
# Without a source, here "none", mount asks for all options that there are already, which are not a user's to ask for.
FILL_TMP = "mkdir /tmp/.X11-unix; mount -o remount,size=4k none /tmp; head -c 4096 /dev/zero >/tmp/fill"


@needs_namespaces
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("mount -o remount,ro none /tmp", "Read-only file system"),
        ("mount -o remount,nr_inodes=$(($(df --output=iused /tmp | tail -n 1))) none /tmp", "No space left on device"),
        ("mkdir /tmp/.X11-unix; mount -t tmpfs -o ro none /tmp/.X11-unix", "Read-only"),
        ("touch /tmp/.X11-unix", "Not a directory"),
        ("mkfifo /tmp/.X11-unix", "Not a directory"),
        ("ln -s gone /tmp/.X11-unix", "No such file or directory"),
    ],
    ids=[
        "/tmp read-only",
        "/tmp without inodes",
        "socket folder read-only",
        "socket folder no folder",
        "FIFO",
        "dead link",
    ],
)
def test_a_tmp_that_nothing_can_be_made_in_is_named(spoil: str, words: str) -> None:
    environ = {**os.environ, "XDG_RUNTIME_DIR": "/run/private"}
    setup = f"{NEW_TMP}; mount -t tmpfs -o mode=700 none /run; mkdir -m 700 /run/private"
    output = in_namespaces(ANAHEADLESS, "run", "-c", "print('run')", setup=setup, last=spoil, env=environ)
    assert_refused(output, 125, words)


@needs_namespaces
def test_a_full_tmp_is_named() -> None:
    """A socket takes no space; a keymap does, and the lock of a server that makes its sockets itself."""
    environ = {**os.environ, "XDG_RUNTIME_DIR": "/run/private"}
    setup = f"{NEW_TMP}; mount -t tmpfs -o mode=700 none /run; mkdir -m 700 /run/private"
    command = (ANAHEADLESS, "run", "--gl", "none", "-c", "print('run')")
    output = in_namespaces(*command, setup=setup, last=FILL_TMP, env=environ)
    if os.access("/var/lib/xkb", os.W_OK):  # there it has its keymap made when it can
        assert output.stdout == "run\n"
    else:
        assert_refused(output, 125, "no space left in /tmp")
    stand_in = rf"""printf '#!/bin/sh\nunset LISTEN_FDS LISTEN_PID\nexec {shutil.which("Xvfb")} "$@"\n'"""
    setup = f"{setup}; {stand_in} >/run/private/Xvfb; chmod +x /run/private/Xvfb"
    environ["PATH"] = f"/run/private:{environ['PATH']}"
    output = in_namespaces(*command, setup=setup, last=FILL_TMP, env=environ)
    assert_refused(output, 125, "no space left in /tmp")


@needs_namespaces
def test_a_full_tmp_is_left_as_it_was() -> None:
    """The server itself leaves an unfinished lock there."""
    command = ("sh", "-c", f"{ANAHEADLESS} run -c ''; find /tmp -xdev -name '.*X*'")
    output = in_namespaces(*command, setup=NEW_TMP, last=FILL_TMP)
    assert output.stdout == "/tmp/.X11-unix\n", output


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [("--version",), ("start", "--json"), ("run", "--show-config"), ("list", "--json")])
def test_output_that_can_not_be_written_is_a_failure(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        output = run(*words, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert output.returncode == 125
    assert output.stderr == "anaheadless: the output can't be written: No space left on device\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [(["run", "gone.py"], 127), (["run", "--nonsense"], 2), (["stop", "nonsense"], 125), (["list"], 0)],
)
def test_python_is_not_left_waiting_for_lines_to_run(words: list[str], status: int) -> None:
    """It would ask for lines to run."""
    output = run(*words, env={**os.environ, "PYTHONINSPECT": "1"})
    assert (output.returncode, "Traceback" in output.stderr) == (status, False)


def test_an_interpreter_that_can_not_be_read_is_said(users: list[User]) -> None:
    """The kernel hides such a process from itself."""
    user = users[0]
    ask = "import sys; print(sys.base_prefix); print(sys.executable)"
    prefix, executable = run("-c", ask, command=user.python, **user.settings).stdout.split()
    python = Path(user.hold).parent / "python"
    shutil.copy(os.path.realpath(executable), python)
    python.chmod(0o711)
    settings = {**user.settings, "env": {**user.settings["env"], "PYTHONHOME": prefix}}
    if run("-c", "", command=str(python), **settings).returncode:
        pytest.skip("no interpreter that can be copied")
    for words in (["run", "-c", "print('run')"], ["list"]):
        output = run("-m", "anaheadless", *words, command=str(python), **settings)
        if words == ["list"]:
            assert (output.returncode, output.stderr) == (0, "")
        else:
            assert_refused(
                output, 125, f"Its interpreter must not only be executable, but readable: chmod a+r {python}\n"
            )


def test_what_is_no_interpreter_is_refused() -> None:
    output = run("doctor", "--python", "/bin/true")
    assert output.returncode == 1
    assert "it does not answer as Python does" in output.stdout


@pytest.mark.parametrize("limit", [5, 6, 8, 12, 14, 15, 16, 20, 24])
def test_too_few_descriptors_are_said_with_ulimit(limit: int) -> None:
    words = ("-c", f'ulimit -n {limit}; exec "$@"', "sh", ANAHEADLESS, "exec", "--gl", "none", "echo", "run")
    assert_refused(run(*words, command="sh"), 125, "Too many open files", "ulimit")
