"""What people are told when something is wrong: what failed, why, and what to do about it.

The whole of it, where the words are ours; of click's, the part that matters.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anaheadless.options import TABLE
from anaheadless.packages import install_hint
from tests.support.helpers import BIN, holding, run
from tests.support.namespaces import in_namespaces, needs_namespaces

XVFB = shutil.which("Xvfb") or "Xvfb"
RUN = "Usage: anaheadless run [OPTIONS] [SCRIPT] [ARGS]...\nTry 'anaheadless run --help' for help.\n\nError: "
SETTINGS = ", ".join([*(row.name for row in TABLE), "env"]) + "."

# Arguments, status, standard error: all of it, or words that are in it.
WRONG: list[tuple[list[str], int, str | list[str]]] = [
    (["run", "--scren", "800x600", "hello.py"], 2, ["No such option", "--scren", "Did you mean", "--screen"]),
    (
        ["run", "--screen", "800", "hello.py"],
        2,
        f"{RUN}Invalid value for '--screen': '800' is not WIDTHxHEIGHT or WIDTHxHEIGHTxDEPTH, as in 1280x1024x24.",
    ),
    (
        ["run", "--screen", "99999x1", "hello.py"],
        2,
        f"{RUN}Invalid value for '--screen': '99999x1': width and height have to be 1 to 32767 pixels.",
    ),
    (
        ["run", "--screen", "800x600x7", "hello.py"],
        2,
        f"{RUN}Invalid value for '--screen': '800x600x7': the depth has to be 8, 15, 16, 24 or 30 bits; 24 is the usual"
        " one.",
    ),
    (
        ["run", "--screen", "32767x32767", "hello.py"],
        2,
        f"{RUN}Invalid value for '--screen': '32767x32767': this screen would take 4.0 GiB of memory, and Xvfb can't"
        " use more than 2 GiB.",
    ),
    (
        ["run", "--gl", "opengl", "hello.py"],
        2,
        ["Invalid value for '--gl': 'opengl' is not one of 'auto', 'hardware', "],
    ),
    (
        ["run", "--dpi", "abc", "hello.py"],
        2,
        ["Invalid value for '--dpi': 'abc' is not a whole number from 1 to 1000."],
    ),
    (["run"], 2, f"{RUN}Nothing to run: give a SCRIPT, -m MODULE or -c CODE."),
    (
        ["run", "--timeout", "5x", "hello.py"],
        2,
        f"{RUN}Invalid value for '--timeout': '5x' is not a duration such as 90, 90s, 1.5m, 2h or 1d (at most 366d).",
    ),
    (["run", "--timeout=-5", "hello.py"], 2, ["'--timeout': '-5' is not a duration such as "]),
    (
        ["run", "--screenshot-on-timeout", "x.png", "hello.py"],
        2,
        f"{RUN}--grace and --screenshot-on-timeout need a --timeout.",
    ),
    (
        ["run", "--record", "film.mp4", "--screen", "640x480x30", "hello.py"],
        2,
        f"{RUN}--record needs a --screen of 15, 16 or 24 bits: ffmpeg reads no other.",
    ),
    (
        ["run", "helo.py"],
        127,
        "anaheadless: script not found: helo.py\n  Check the path; the working directory is {folder}.",
    ),
    (["run", "/gone/x.py"], 127, "anaheadless: script not found: /gone/x.py\n  Check the path."),
    (
        ["run", "--python", "/usr/bin/python9", "hello.py"],
        127,
        "anaheadless: Python interpreter not found: /usr/bin/python9\n  Check the path.",
    ),
    (
        ["run", "--python", f"{BIN}/anaheadless-python", "hello.py"],
        125,
        f"anaheadless: the Python interpreter is the launcher itself: {BIN}/anaheadless-python\n"
        "  Give --python a Python interpreter instead.",
    ),
    (
        ["run", "."],
        127,
        "anaheadless: directory has no __main__.py: .\n  Give a script in that folder, or -m for a package.",
    ),
    (["run", "--gl", "none", "-m", "nosuch"], 1, ["No module named nosuch"]),
    (
        ["run", "python3", "hello.py"],
        127,
        "anaheadless: script not found: python3\n  python3 is a command. Did you mean: anaheadless run hello.py",
    ),
    (["run", "sh"], 127, "anaheadless: script not found: sh\n  sh is a command. Did you mean: anaheadless exec sh"),
    (
        ["exec", "hello.py"],
        127,
        "anaheadless: command not found: hello.py\n  exec looks on PATH only. Did you mean: anaheadless run hello.py",
    ),
    (
        ["screenshot", "a.JPG"],
        2,
        "anaheadless: can't write a.JPG: only .png files can be written\n"
        "  Name it a.png. To convert it afterwards: ffmpeg -i a.png a.JPG",
    ),
    (["doctor", "--render", "a.gif"], 2, ["can't write a.gif: only .png files can be written"]),
    (["run", "--timeout", "9", "--screenshot-on-timeout", "a.bmp", "hello.py"], 2, ["can't write a.bmp: only .png"]),
    (["run", "--record", "film.webm", "hello.py"], 2, ["can't write film.webm: only .mp4 files can be written"]),
    (["run", "--gl", "none", "--record", "old.mp4", "hello.py"], 2, ["old.mp4: there is a film already\n", "--force"]),
    (
        ["exec", "./hello.py"],
        126,
        "anaheadless: command is not executable: ./hello.py\n"
        "  A script can do without that: anaheadless run ./hello.py",
    ),
    (
        ["exec", "--gl", "none", "./noprogram"],
        126,
        "anaheadless: ./noprogram can't be executed: Exec format error\n"
        "  It is not a program for this machine, or a script without a #! line.",
    ),
    (
        ["exec", "--gl", "none", "./badshebang"],
        126,
        "anaheadless: ./badshebang can't be executed: No such file or directory\n"
        "  The interpreter named in its first line may be missing.",
    ),
    (
        ["run", "--gl", "none", "--log", "/gone/x", "hello.py"],
        125,
        "anaheadless: can't write the log: /gone/x: No such file or directory\n"
        "  Choose a file that you can write to, in a folder that exists.",
    ),
    (
        ["run", "--gl", "none", "--record", "/gone/x", "hello.py"],
        125,
        "anaheadless: can't write the recording: /gone/x: No such file or directory\n"
        "  Choose a file that you can write to, in a folder that exists.",
    ),
    (
        ["run", "--gl", "none", "--record", "fifo", "hello.py"],
        125,
        ["anaheadless: can't write the recording: "],
    ),
    (
        ["run", "--server-arg=-nonsense", "hello.py"],
        125,
        f"anaheadless: the X server ended before it was ready: {XVFB}\n"
        "  | Fatal server error:\n"
        "  | (EE) Unrecognized option: -nonsense\n"
        "  Check --server-arg: give each word its own, as in --server-arg=-maxclients --server-arg=512.",
    ),
    (
        ["run", "--server-arg", "-screen 0 800x600x24", "hello.py"],
        125,
        f"anaheadless: the X server ended before it was ready: {XVFB}\n"
        "  | Fatal server error:\n"
        "  | (EE) Unrecognized option: -screen 0 800x600x24\n"
        "  Use --screen WIDTHxHEIGHTxDEPTH instead of --server-arg.",
    ),
    (
        ["run", "--fresh", "--start-timeout", "0.001", "hello.py"],
        125,
        [
            f"anaheadless: the X server was not ready within 0.001 s: {XVFB}\n",
            "Give it more time with --start-timeout, ",
        ],
    ),
    (
        ["start", "--json", "--pid", "4194304"],
        125,
        "anaheadless: there is no process 4194304\n  --pid takes the PID of the process to keep the display for.",
    ),
    (
        ["start", "--github"],
        2,
        ["Error: GITHUB_ENV is not set: --github only works in a step of a GitHub Actions job."],
    ),
    (["screenshot"], 2, ["Error: Give one FILE.png, and at most a SESSION before it."]),
    (["screenshot", "--crop", "1x1", "x.png"], 2, ["'--crop': '1x1' is not WIDTHxHEIGHT+X+Y, such as 640x480+0+0."]),
    (
        ["run", "typo.py"],
        2,
        f"anaheadless: typo.py:3: there is no setting 'scren'\n  Did you mean screen? There are: {SETTINGS}",
    ),
    (
        ["run", "number.py"],
        2,
        "anaheadless: number.py:3: screen: '800' is not WIDTHxHEIGHT or WIDTHxHEIGHTxDEPTH, as in 1280x1024x24",
    ),
    (["run", "broken.py"], 2, ["anaheadless: broken.py:3: not valid TOML: "]),
    (
        ["run", "display.py"],
        2,
        "anaheadless: display.py:3: env can't set DISPLAY\n  anaheadless sets it itself.",
    ),
    (
        ["run", "name.py"],
        2,
        "anaheadless: name.py:3: 'A;B' can't be the name of a variable\n"
        "  Use letters (A-Z, a-z), digits and underscores, and no digit at the beginning.",
    ),
]

SCRIPTS = {
    "typo": 'scren = "800x600"',
    "number": "screen = 800",
    "broken": "screen = [",
    "display": 'env = { DISPLAY = ":0" }',
    "name": 'env."A;B" = "1"',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With mistakes to be made."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "hello.py").write_text("print('run')")
    for name, text in ("noprogram", "no program"), ("badshebang", "#!/gone/interpreter\n"):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    for name, toml in SCRIPTS.items():
        (folder / f"{name}.py").write_text(f"# /// script\n# [tool.anaheadless]\n# {toml}\n# ///\n")
    os.mkfifo(folder / "fifo")
    (folder / "old.mp4").write_text("a film")
    return folder


def environ(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANAHEADLESS", "GITHUB"))}
    return {**kept, "XDG_CONFIG_HOME": "/nonexistent", **variables}


def assert_said(
    output: subprocess.CompletedProcess[str], status: int, said: str | list[str], folder: Path = Path()
) -> None:
    assert (output.returncode, output.stdout) == (status, ""), output
    if isinstance(said, str):
        assert output.stderr == f"{said.replace('{folder}', str(folder))}\n"
    else:
        assert [word for word in said if word not in output.stderr] == [], output.stderr
    assert "Traceback" not in output.stderr


@pytest.mark.parametrize(("args", "status", "said"), WRONG, ids=[" ".join(args) for args, *_ in WRONG])
def test_every_error_says_what_failed_and_what_to_do(
    args: list[str], status: int, said: str | list[str], folder: Path
) -> None:
    assert_said(run(*args, cwd=folder, env=environ()), status, said, folder)


NONE_IS_RUNNING = "  No session is running now: anaheadless run, exec and start begin one."
VARIABLE = "Invalid value for ANAHEADLESS_SCREEN: '800' is not WIDTHxHEIGHT or WIDTHxHEIGHTxDEPTH, as in 1280x1024x24."


def test_a_wrong_variable_is_named(folder: Path) -> None:
    """It is named, and no --help that is python's."""
    wrong = environ(ANAHEADLESS_SCREEN="800")
    assert_said(run("run", "hello.py", cwd=folder, env=wrong), 2, RUN + VARIABLE)
    output = run("hello.py", command=str(BIN / "anaheadless-python"), cwd=folder, env=wrong)
    assert_said(output, 2, f"Usage: anaheadless-python [OPTIONS] [ARGS]...\n\nError: {VARIABLE}")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["exec", "--server", "xvfb", "true"], "Xvfb"),
        (["run", "--record", "x.mp4", "hello.py"], "ffmpeg"),
        (["view"], "x11vnc"),
    ],
    ids=lambda words: words if isinstance(words, str) else "",
)
def test_what_is_not_installed_is_named_with_its_package(
    words: list[str], part: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "true").symlink_to("/bin/true")
    if part != "Xvfb":
        (tmp_path / "Xvfb").symlink_to(XVFB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        hint = install_hint(part)
    said = f"anaheadless: {part} is not installed, or not on PATH ({tmp_path})\n  {hint}"
    without = environ(PATH=str(tmp_path))
    if part == "x11vnc":
        with holding("--gl", "none") as session:
            output = run("view", session.display, env=without)
    else:
        output = run(*words, cwd=folder, env=without)
    assert_said(output, 125, said)


@needs_namespaces
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["view"], 125, f"anaheadless: there is no session\n{NONE_IS_RUNNING}"),
        (["screenshot", "x.png"], 125, f"anaheadless: there is no session\n{NONE_IS_RUNNING}"),
        (["stop", "foo"], 125, f"anaheadless: there is no session foo\n{NONE_IS_RUNNING}"),
        (["stop"], 2, ["anaheadless: this shell is not in a session, ", "\n  No session is running now.\n"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_without_a_session_that_is_said(words: list[str], status: int, said: str | list[str]) -> None:
    assert_said(in_namespaces(BIN / "anaheadless", *words, env=environ()), status, said)


def test_several_sessions_are_listed_to_choose_from() -> None:
    with holding("--gl", "none") as one, holding("--gl", "none") as other:
        said = run("screenshot", "x.png", env=environ()).stderr
        assert said.endswith("\n  Say which one you mean by its display; see anaheadless list.\n")
        assert {one.display, other.display} <= set(said.replace(",", " ").split())
        said = run("stop", "foo", env=environ()).stderr
        assert said.startswith(
            "anaheadless: there is no session foo\n  Give a display or the PID of a program. Running"
        )


@needs_namespaces
@pytest.mark.needs("ffmpeg")
def test_a_recording_on_a_full_disk_is_said(tmp_path: Path) -> None:
    setup = f"mount -t tmpfs -o size=4k none {tmp_path}; head -c 4096 /dev/zero >{tmp_path}/fill"
    film = tmp_path / "film.mp4"
    command = (BIN / "anaheadless", "exec", "--gl", "none", "--record", film, "true")
    output = in_namespaces(*command, setup=setup, env=environ())
    words = [f"anaheadless: can't record the screen with {shutil.which('ffmpeg')}\n", "No space left on device"]
    assert_said(output, 125, [*words, f"\n  Make room for {film}, or choose another --record FILE.mp4.\n"])


def test_a_screen_that_takes_too_much_memory_is_said() -> None:
    limited = f"ulimit -v 1500000; exec {BIN}/anaheadless exec --gl none --screen 20000x20000 true"
    hint = "It could not get the memory for that --screen: choose a smaller one, or raise the limit (ulimit -v)."
    assert_said(run("-c", limited, command="sh", env=environ()), 125, ["Couldn't add screen 0", f"\n  {hint}\n"])


@pytest.mark.parametrize("function", ["relaunch", "virtual_display"])
def test_a_misspelt_option_of_a_function_gets_a_suggestion(function: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import anaheadless\nwith anaheadless.{function}(scren='800x600'):\n    pass\n")
    output = run(script, command=sys.executable, env=environ())
    last = output.stderr.splitlines()[-1]
    assert output.returncode == 1
    assert last.startswith(
        f"TypeError: {function}() has no option 'scren'. Did you mean screen? There are: screen, dpi, "
    )
