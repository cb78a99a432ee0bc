"""Whatever a name, a file or another program holds: nothing that we write does anything to a terminal."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from anaheadless.errors import LaunchError, printable
from tests.support.helpers import ANAHEADLESS, run

ODD = "a\x1b[31m\x07\r\x7f\x9b2J\u202e\u2028\nz"
SHOWN = r"a\x1b[31m\x07\r\x7f\x9b2J\u202e\u2028\nz"


def assert_harmless(output: subprocess.CompletedProcess[bytes], *words: str) -> None:
    for stream in output.stdout, output.stderr:
        assert all(line.isprintable() for line in stream.decode().split("\n")), stream
    for word in words:
        assert word in (output.stdout + output.stderr).decode(), output
    assert b"Traceback" not in output.stderr


def run_bytes(*args: str | bytes | Path, **settings: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([ANAHEADLESS, *args], capture_output=True, timeout=60, stdin=subprocess.DEVNULL, **settings)  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    "args",
    [
        ["run", ODD],
        ["exec", ODD],
        ["exec", f"./{ODD}"],
        ["run", "--python", ODD, "-c", ""],
        [ODD],
        ["run", f"--{ODD}"],
        ["run", "--log", f"/gone/{ODD}", "-c", ""],
        ["start", "--shell", ODD],
        ["run", "--screen", ODD],
        ["run", "--gl", ODD],
        ["stop", ODD],
        ["screenshot", "--crop", ODD, "x"],
        ["exec", "--server-arg", ODD, "true"],
    ],
    ids=lambda args: " ".join(args).replace(ODD, "ODD"),
)
def test_odd_names_that_users_give_are_shown_harmless(args: list[str]) -> None:
    output = run_bytes(*args)
    assert output.returncode in (2, 125, 126, 127)
    assert_harmless(output, "a", "z")


def test_every_character_can_still_be_read() -> None:
    assert printable(ODD) == SHOWN
    assert_harmless(run_bytes("exec", ODD), f"command not found: {SHOWN}\n")
    assert printable("caf\u00e9 \U0001f600 \u65e5\u672c \\") == "caf\u00e9 \U0001f600 \u65e5\u672c \\"
    error = LaunchError("one\ntwo", hint="three\x1b", details=("four\tfive", "six"))
    assert str(error) == "anaheadless: one\\ntwo\n  | four\\tfive\n  | six\n  three\\x1b"


def test_nobody_adds_lines_to_a_message() -> None:
    output = run_bytes("run", "--timeout", "1", "--screenshot-on-timeout", f"/gone/{ODD}", "-c", "")
    assert output.returncode == 2
    assert_harmless(output, f"can't make a file there: /gone/{SHOWN}\n")


def test_names_that_are_no_text_can_be_used(tmp_path: Path) -> None:
    """They can be used all the same."""
    name = os.fsencode(tmp_path) + b"/\xff\x9b.py"
    assert_harmless(run_bytes("run", name), r"\xff\x9b.py")
    with open(name, "w") as file:
        file.write("import os, sys; print(os.fsencode(sys.argv[0]))")
    output = run_bytes("run", "-v", "--gl", "none", name)
    assert output.returncode == 0
    assert output.stdout == f"{name!r}\n".encode()
    assert_harmless(output, r"\xff\x9b.py")
    assert_harmless(run_bytes("run", "--show-config", "--log", name, "x.py", cwd=tmp_path), "script not found: x.py")
    output = run_bytes("run", "--show-config", "--log", name)
    assert (output.returncode, output.stderr) == (0, b"")
    assert_harmless(output, r"\udcff\udc9b.py")


def test_details_of_verbose_are_harmless() -> None:
    output = run_bytes("exec", "-v", "--gl", "none", "true", ODD)
    assert output.returncode == 0
    assert_harmless(output, r"target: true a\x1b[31m\x07\r\x7f\x9b2J\u202e\u2028")


def test_settings_are_shown_harmless_and_can_be_read_back(tmp_path: Path) -> None:
    """What is shown can be read back; what is wrong in the file is named."""
    file = tmp_path / "a\x1bb" / "anaheadless" / "config.toml"
    file.parent.mkdir(parents=True)
    environ = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "a\x1bb")}
    value = json.dumps(ODD)
    file.write_text(f"env.A = {value.replace(chr(0x7F), chr(92) + 'u007f')}\nlog = {value}\n".replace("\x7f", ""))
    output = run_bytes("run", "--show-config", env=environ)
    assert (output.returncode, output.stderr) == (0, b"")
    assert_harmless(
        output, r'env.A = "a\u001b[31m\u0007\r\u007f\u009b2J\u202e\u2028\nz"', r"a\x1bb/anaheadless/config.toml:1"
    )
    file.write_text('"\\u001b\\u009b" = 1')
    assert_harmless(run_bytes("run", "--show-config", env=environ), r"there is no setting '\x1b\x9b'")
    file.write_text('gl = "\\u001b\\u202e"')
    assert_harmless(run_bytes("run", "-c", "", env=environ), r"gl: '\x1b\u202e'")
    file.write_text('env.A = "\\u0000\\u202e"')
    assert_harmless(run_bytes("run", "-c", "", env=environ), r"\u202e")


def test_words_of_the_server_are_harmless(tmp_path: Path) -> None:
    server, log = tmp_path / "Xvfb", tmp_path / "log"
    server.write_bytes(b"#!/bin/sh\nprintf 'it \\033[31m\\233 \\342\\200\\256 says\\n' >&2; exit 1\n")
    server.chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    output = run_bytes("exec", "--log", str(log), "true", env=environ)
    assert output.returncode == 125
    assert_harmless(output, r"  | it \x1b[31m", r"\u202e says")
    assert all(line.isprintable() for line in log.read_text().split("\n"))
    assert r"X server: it \x1b[31m" in log.read_text()


def test_the_list_of_sessions_is_harmless(tmp_path: Path) -> None:
    command = [ANAHEADLESS, "exec", "--gl", "none", "sh", "-c", "echo; read line", "\x1b\x9b"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        assert_harmless(run_bytes("list"), f" {process.pid} ", "read line")
        assert_harmless(run_bytes("screenshot", str(process.pid), f"/gone/{ODD}"), SHOWN)
        process.kill()


def test_a_shell_gets_the_very_value(tmp_path: Path) -> None:
    """No escapes in what is to be evaluated."""
    file = tmp_path / "anaheadless" / "config.toml"
    file.parent.mkdir()
    file.write_text('gl = "none"\nenv.A = "\\u001b\\u009b\\u202e\\n\\\\"')
    environ = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    output = run("-c", f'eval "$({ANAHEADLESS} start)"; printf %s "$A"', command="sh", env=environ)
    assert (output.returncode, output.stdout, output.stderr) == (0, "\x1b\x9b\u202e\n\\", "")
