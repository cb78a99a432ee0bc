"""VirtualGL is really loaded, and no other one: with a stand-in of our own, and with the real one where there is one.

The stand-in is preloaded as the real one is, and passes everything on: the native OpenGL draws. The variables
VGL_STANDIN and VGL_STANDIN_RENDERER have it fail as the real one fails, and name the GPU that it would render on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from anaheadless.opengl import hardware, rendercheck
from anaheadless.options import SESSION_VARIABLES
from anaheadless.x11 import authority
from tests.support.helpers import ANAHEADLESS, PATIENCE, PROGRAMS, gcc, run, wait_until, write_program
from tests.support.virtualgl import VGLRUN, needs_virtualgl
from tests.support.x_servers import Server, nobody, x_server

WITHOUT_GLX = ("--server-arg=-extension", "--server-arg=GLX")
COLOURS = ["255 0 0", "0 0 255"]

# The first in the order in which symbols are looked up answers first_faker().
FAKER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
const char *first_faker(void) { return NAME; }
#ifdef RENDERS
/* GL_RENDERER, as of a GPU. */
const unsigned char *glGetString(unsigned name) {
    const unsigned char *(*real)(unsigned);
    const char *renderer = getenv("VGL_STANDIN_RENDERER");
    if (name == 0x1F01 && renderer) return (const unsigned char *)renderer;
    *(void **)&real = dlsym(dlopen("libGL.so.1", RTLD_LAZY), "glGetString");
    return real(name);
}
/* VirtualGL fails when a program opens a display; before, it only loads. */
void *XOpenDisplay(const char *display) {
    void *(*real)(const char *);
    const char *how = getenv("VGL_STANDIN");
    if (how && !strcmp(how, "exits")) {
        fprintf(stderr, "[VGL] ERROR: Could not open display %s.\\n", getenv("VGL_DISPLAY"));
        exit(1);
    }
    if (how && !strcmp(how, "crashes")) raise(SIGSEGV);
    if (how && !strcmp(how, "hangs")) for (;;) pause();
    *(void **)&real = dlsym(dlopen("libX11.so.6", RTLD_LAZY), "XOpenDisplay");
    return real(display);
}
#endif
"""

# What a target has of VirtualGL, as one line of JSON.
REPORT = """
import ctypes, json, os
with open('/proc/self/maps') as maps:
    loaded = {line.split(None, 5)[5].rstrip() for line in maps if 'faker' in line}
try:
    first = ctypes.CDLL(None)
    first.first_faker.restype = ctypes.c_char_p
    name = first.first_faker().decode()
except AttributeError:
    name = None
print(json.dumps({'loaded': sorted(loaded), 'first': name, 'environ': dict(os.environ)}))
"""


class Report:
    def __init__(self, output: subprocess.CompletedProcess[str]) -> None:
        assert (output.returncode, output.stderr) == (0, "")
        said = json.loads(output.stdout)
        self.loaded: list[str] = said["loaded"]
        self.first: str | None = said["first"]
        self.environ: dict[str, str] = said["environ"]

    @property
    def preload(self) -> list[str]:
        return self.environ["LD_PRELOAD"].split(":")


def environ_without_virtualgl(**more: str) -> dict[str, str]:
    """Ours, but for what could lead to another VirtualGL or display."""
    names = ("DISPLAY", "XAUTHORITY", "LD_PRELOAD", "LD_LIBRARY_PATH", "ANAHEADLESS_SESSION")
    kept = {name: value for name, value in os.environ.items() if name not in names and not name.startswith("VGL_")}
    return {**kept, **more}


class StandIn:
    """A VirtualGL in a prefix of its own."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.bin, self.libraries = prefix / "bin", prefix / "lib64"

    def paths(self, *names: str) -> list[str]:
        return [str(self.libraries / name) for name in names]

    def environ(self, **more: str) -> dict[str, str]:
        return environ_without_virtualgl(PATH=f"{self.bin}:{os.environ['PATH']}", **more)

    def run(self, *args: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        return run(*args, env=self.environ(**more))

    def report(self, *options: str, **more: str) -> Report:
        return Report(self.run("run", *options, "-c", REPORT, **more))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    stand_in = StandIn(tmp_path_factory.mktemp("prefix") / "VirtualGL")
    stand_in.bin.mkdir(parents=True)
    stand_in.libraries.mkdir()
    (stand_in.bin / "vglrun").write_text("#!/bin/sh\necho 'vglrun is looked for, and never run' >&2\nexit 99\n")
    (stand_in.bin / "vglrun").chmod(0o755)
    source = stand_in.prefix / "faker.c"
    source.write_text(FAKER)
    for name in "libdlfaker.so", "libvglfaker.so", "libvglfaker-nodl.so":
        renders = ["-DRENDERS"] if "vgl" in name else []
        library = str(stand_in.libraries / name)
        gcc("-shared", "-fPIC", f'-DNAME="{name}"', *renders, "-o", library, source)
    return stand_in


@pytest.fixture
def stand_in(compiled: StandIn, tmp_path: Path) -> StandIn:
    """One to be changed: its libraries are copies."""
    return StandIn(shutil.copytree(compiled.prefix, tmp_path / "VirtualGL"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that lets everybody in."""
    with x_server() as started:
        yield started


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """One that needs a cookie, and the user's file with it and with that of a host far away."""
    cookie, node = os.urandom(16), os.uname().nodename
    (tmp_path / "server-authority").write_bytes(authority.authority(0, cookie, node))
    with x_server("-auth", tmp_path / "server-authority") as started:
        own = tmp_path / "user-authority"
        own.write_bytes(
            authority.authority(7, b"far away", "far.example") + authority.authority(started.number, cookie, node)
        )
        yield started, own


def opens(number_or_name: str, environ: dict[str, str]) -> bool:
    answer = subprocess.run(
        ["xdpyinfo"], env={**environ, "DISPLAY": number_or_name}, capture_output=True, text=True, timeout=PATIENCE
    )
    return answer.returncode == 0 and "dimensions:" in answer.stdout


# The stand-in.


def test_virtualgl_is_loaded_into_the_program(compiled: StandIn) -> None:
    report = compiled.report("--gl", "virtualgl")
    fakers = compiled.paths("libdlfaker.so", "libvglfaker.so")
    assert report.preload == fakers
    assert report.loaded == fakers
    assert report.first == "libdlfaker.so"
    assert report.environ["VGL_DISPLAY"] == "egl"
    assert report.environ["VGL_ISACTIVE"] == "1"
    assert "LD_LIBRARY_PATH" not in report.environ


def test_virtualgl_is_loaded_without_its_dlopen_where_that_is_asked_for(compiled: StandIn) -> None:
    report = compiled.report("--gl", "virtualgl", "--vgl-no-dlfaker")
    assert report.preload == report.loaded == compiled.paths("libvglfaker-nodl.so")
    assert report.first == "libvglfaker-nodl.so"


@pytest.mark.parametrize(
    ("name", "options", "own", "value"),
    [
        ("google-chrome-stable", ["--gl", "virtualgl"], {}, "1"),
        ("chromium", ["--gl", "virtualgl"], {}, "1"),
        ("MATLAB", ["--gl", "virtualgl"], {}, "1"),
        ("matlab", ["--gl", "virtualgl"], {"VGL_CHROMEHACK": "0"}, "0"),
        ("firefox", ["--gl", "virtualgl"], {}, "-"),
        ("chromium", ["--no-virtualgl"], {}, "-"),
    ],
)
def test_chrome_and_matlab_get_what_they_need(
    name: str, options: list[str], own: dict[str, str], value: str, compiled: StandIn, tmp_path: Path
) -> None:
    write_program(tmp_path / "bin" / name, 'echo "${VGL_CHROMEHACK--}"')
    output = compiled.run("exec", *options, str(tmp_path / "bin" / name), **own)
    assert (output.returncode, output.stdout) == (0, f"{value}\n"), output


def test_the_users_own_preloaded_library_stays(compiled: StandIn, stand_in: StandIn) -> None:
    """But another VirtualGL's go, whole paths included, and blanks are as good as colons."""
    (mine,) = stand_in.paths("mine.so")
    shutil.copy(stand_in.libraries / "libdlfaker.so", mine)
    preset = " ".join([*stand_in.paths("libdlfaker.so", "libvglfaker-nodl.so"), mine])
    report = compiled.report("--gl", "virtualgl", LD_PRELOAD=preset)
    fakers = compiled.paths("libdlfaker.so", "libvglfaker.so")
    assert report.preload == [*fakers, mine]
    assert report.loaded == fakers
    assert compiled.report("--gl", "native", LD_PRELOAD=preset).environ["LD_PRELOAD"] == mine


@pytest.mark.parametrize(
    ("renderer", "chosen"),
    [("Quadro of the stand-in/PCIe", "virtualgl (on :7)"), ("llvmpipe of the stand-in", "native")],
)
def test_auto_wants_virtualgl_for_hardware_only(compiled: StandIn, renderer: str, chosen: str) -> None:
    settings = {"VGL_DISPLAY": ":7", "VGL_STANDIN_RENDERER": renderer}
    output = compiled.run("run", "-v", "-c", REPORT, **settings)
    assert output.returncode == 0
    assert f"\nanaheadless: OpenGL: {chosen}\n" in output.stderr
    assert f"\nanaheadless: tried virtualgl (on :7): {renderer}, " in output.stderr
    loaded = compiled.paths("libdlfaker.so", "libvglfaker.so") if chosen != "native" else []
    assert json.loads(output.stdout)["loaded"] == loaded


def test_virtualgl_is_not_tried_without_a_place_to_render_on(compiled: StandIn) -> None:
    if hardware.detect(compiled.environ()).gpus:
        pytest.skip("there is a GPU here")
    output = compiled.run("run", "-v", "-c", REPORT)
    assert (output.returncode, "virtualgl" in output.stderr) == (0, False)
    assert "\nanaheadless: OpenGL: native\n" in output.stderr


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("exits", "ended: status 1; [VGL] ERROR: Could not open display :7."),
        ("crashes", "crashed: Segmentation fault"),
        ("hangs", "hung: no picture within {} s"),
    ],
)
def test_a_virtualgl_that_fails_is_passed_over_unless_it_was_asked_for(compiled: StandIn, how: str, words: str) -> None:
    """It closes the way when it was asked for by name, and is passed over when it was not."""

    def start(limit: str, *args: str) -> subprocess.CompletedProcess[str]:
        return compiled.run("run", "--probe-timeout", limit, *args, VGL_STANDIN=how, VGL_DISPLAY=":7")

    limit = "0.5" if how == "hangs" else "10"
    forced = start(limit, "--gl", "virtualgl", "-c", "print('ran')")
    assert (forced.returncode, forced.stdout) == (125, "")
    assert f"\n  | virtualgl (on :7): {words.format(limit)}\n" in forced.stderr
    limit = "2" if how == "hangs" else "10"  # the native one has to be done in that time
    auto = start(limit, "-v", "-c", REPORT)
    assert auto.returncode == 0
    assert f"\nanaheadless: tried virtualgl (on :7): {words.format(limit)} (" in auto.stderr
    assert "\nanaheadless: OpenGL: native\n" in auto.stderr
    assert json.loads(auto.stdout)["loaded"] == []


def test_a_missing_file_of_virtualgl_is_said_before_the_program_starts(stand_in: StandIn) -> None:
    """ld.so would only mutter, and run the target without VirtualGL."""
    (stand_in.libraries / "libdlfaker.so").unlink()
    (missing,) = stand_in.paths("libdlfaker.so")
    forced = stand_in.run("run", "--gl", "virtualgl", "-c", "print('ran')")
    assert (forced.returncode, forced.stdout) == (125, "")
    assert f"\n  | virtualgl (on egl): missing file: {missing}\n" in forced.stderr
    assert "ld.so" not in forced.stderr
    auto = stand_in.report(VGL_DISPLAY=":7")
    assert auto.loaded == []
    # What needs it not works without it.
    assert stand_in.report("--gl", "virtualgl", "--vgl-no-dlfaker").first == "libvglfaker-nodl.so"


def test_a_virtualgl_that_ld_so_ignores_is_none(stand_in: StandIn) -> None:
    """One for another architecture, say: the picture is drawn, but not by VirtualGL."""
    (stand_in.libraries / "libvglfaker.so").write_bytes(b"\x7fELF, or what is left of it")
    forced = stand_in.run("run", "--gl", "virtualgl", "-c", "print('ran')")
    assert (forced.returncode, forced.stdout) == (125, "")
    assert "\n  | virtualgl (on egl): not loaded: libvglfaker.so was ignored; ERROR: ld.so: object" in forced.stderr


def test_nested_runs_have_virtualgl_once(compiled: StandIn) -> None:
    inner = [ANAHEADLESS, "run", "--gl", "virtualgl", "-c", REPORT]
    nested = f"import os; os.execv({inner[0]!r}, {inner!r})"
    report = compiled.report("--gl", "virtualgl", VGL_DISPLAY=":7")
    output = Report(compiled.run("run", "--gl", "virtualgl", "-c", nested, VGL_DISPLAY=":7"))
    assert output.environ["ANAHEADLESS_SESSION"] != report.environ["ANAHEADLESS_SESSION"]
    assert (output.preload, output.loaded, output.first) == (report.preload, report.loaded, "libdlfaker.so")
    assert output.environ["VGL_DISPLAY"] == ":7"


@pytest.mark.parametrize("options", [("--gl", "native"), ("--gl", "none"), ("--no-virtualgl",)])
def test_virtualgl_of_an_outer_run_is_gone_where_it_is_not_wanted(compiled: StandIn, options: tuple[str, ...]) -> None:
    inner = [ANAHEADLESS, "run", *options, "-c", REPORT]
    nested = f"import os; os.execv({inner[0]!r}, {inner!r})"
    report = Report(compiled.run("run", "--gl", "virtualgl", "-c", nested, VGL_DISPLAY=":7"))
    assert (report.loaded, report.first) == ([], None)
    assert "LD_PRELOAD" not in report.environ


def test_without_opengl_virtualgl_is_not_loaded(compiled: StandIn) -> None:
    report = compiled.report("--gl", "none", VGL_DISPLAY=":7", VGL_STANDIN="exits")
    assert report.loaded == []
    assert "VGL_ISACTIVE" not in report.environ


@pytest.mark.needs("xdpyinfo")
def test_the_callers_cookies_stand_behind_ours(compiled: StandIn, guarded: tuple[Server, Path]) -> None:
    """VirtualGL in the target opens the caller's display as well as ours, with one XAUTHORITY."""
    outer, own = guarded
    entries = own.read_bytes()
    caller = {"DISPLAY": outer.display, "XAUTHORITY": str(own)}
    assert opens(outer.display, {**os.environ, **caller})
    assert not opens(outer.display, {**os.environ, "XAUTHORITY": os.devnull})
    code = (
        "import os, subprocess\n"
        f"for name in os.environ['DISPLAY'], {outer.display!r}:\n"
        "    subprocess.run(['xdpyinfo'], env={**os.environ, 'DISPLAY': name}, check=True, stdout=subprocess.DEVNULL)\n"
        "with open(os.environ['XAUTHORITY'], 'rb') as file: data = file.read()\n"
        "print(data.hex())"
    )
    for options in ("--gl", "virtualgl", "--vgl-display", outer.display), ("--gl", "native"):
        output = compiled.run("run", *options, "-c", code, **caller)
        assert (output.returncode, output.stderr) == (0, "")
        given = bytes.fromhex(output.stdout)
        assert given.endswith(entries)
        assert len(given) > len(entries)
        assert own.read_bytes() == entries


@pytest.mark.needs("xdpyinfo")
def test_the_callers_cookies_may_be_in_the_home_folder(compiled: StandIn, guarded: tuple[Server, Path]) -> None:
    outer, own = guarded
    home = own.parent
    own.rename(home / ".Xauthority")
    code = (
        "import os, subprocess; os.environ['DISPLAY'] = os.environ['OUTER']; subprocess.run(['xdpyinfo'], check=True)"
    )
    output = compiled.run(
        "run", "--gl", "native", "-c", code, HOME=str(home), DISPLAY=outer.display, OUTER=outer.display
    )
    assert (output.returncode, output.stderr) == (0, "")
    assert f"name of display:    {outer.display}\n" in output.stdout


@pytest.mark.parametrize(
    ("form", "usable"),
    [
        (":{}", True),
        (":{}.0", True),
        ("unix:{}", True),
        ("localhost:{}", False),  # ssh forwards as localhost:10.0
        ("localhost:{}.0", False),
        ("far.example:{}", False),
        ("/tmp/.X11-unix/X{}", False),
        ("{}", False),
        ("", False),
    ],
)
def test_the_callers_display_is_found_where_it_can_be_used(server: Server, form: str, usable: bool) -> None:
    name = form.format(server.number)
    # The screen is kept: it may be another GPU's.
    assert hardware.detect({"DISPLAY": name}).outer_display == (name.removeprefix("unix") if usable else None)
    # One of ours is no display of the caller's.
    session = {"DISPLAY": name, "ANAHEADLESS_SESSION": f"{server.display},77"}
    assert hardware.detect(session).outer_display is None
    other = {"DISPLAY": name, "ANAHEADLESS_SESSION": f"{server.display}1,77"}
    assert hardware.detect(other).outer_display == (name.removeprefix("unix") if usable else None)


def test_a_display_that_has_gone_is_not_used() -> None:
    assert hardware.detect({"DISPLAY": nobody()}).outer_display is None


def test_virtualgl_is_found_by_its_vglrun(tmp_path: Path) -> None:
    """By its vglrun, through links, whichever of the folders it uses; the older name counts where there is no newer."""
    prefix = tmp_path / "VirtualGL"
    for folder in "bin", "lib", "lib64":
        (prefix / folder).mkdir(parents=True)
    (prefix / "bin" / "vglrun").touch(0o755)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "vglrun").symlink_to(prefix / "bin" / "vglrun")
    search = [str(tmp_path / "links")]
    vglrun = str(tmp_path / "links" / "vglrun")
    (prefix / "lib" / "librrfaker.so").touch()
    assert hardware.find_virtualgl(search) == hardware.VirtualGl(str(prefix / "lib"), "rrfaker", False, vglrun)
    (prefix / "lib" / "libvglfaker.so").touch()
    assert hardware.find_virtualgl(search) == hardware.VirtualGl(str(prefix / "lib"), "vglfaker", False, vglrun)
    (prefix / "lib64" / "libvglfaker.so").touch()
    assert hardware.find_virtualgl(search) == hardware.VirtualGl(str(prefix / "lib64"), "vglfaker", False, vglrun)


def test_virtualgl_is_found_where_ld_so_does_not_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's ld.so does not look in /usr/lib64: a faker preloaded from there by its name alone is ignored."""
    loaders = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1")
    loader = next((path for path in loaders if os.path.exists(path)), "/bin/false")
    said = subprocess.run([loader, "--help"], capture_output=True, text=True).stdout  # glibc 2.33 and newer
    searched = [line.split()[0] for line in said.splitlines() if "(system search path)" in line]
    if not searched or "/usr/lib64" in searched:
        pytest.skip("ld.so looks in /usr/lib64 here, or does not say where it looks")
    monkeypatch.setattr(os.path, "isfile", lambda path: path == "/usr/lib64/libvglfaker.so")
    assert hardware.find_virtualgl([]) == hardware.VirtualGl("/usr/lib64", "vglfaker", in_linker_path=False)


# The real one.


def forced(server_display: str, *options: str) -> list[str]:
    return ["--gl", "virtualgl", "--vgl-display", server_display, *options]


def run_with_real(*args: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
    return run(*args, env=environ_without_virtualgl(**more))


def said_by_rendercheck(output: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert (output.returncode, output.stderr) == (0, "")
    return dict(line.split(": ", 1) for line in output.stdout.splitlines())


# gl_widget.py, and whether it had VirtualGL.
WIDGET = f"""
import runpy, sys
runpy.run_path({str(PROGRAMS / "gl_widget.py")!r}, run_name='__main__')
with open('/proc/self/maps') as maps:
    print(*sorted({{line.split('/')[-1].strip() for line in maps if 'faker' in line}}))
"""


def assert_widget_through_virtualgl(picture: Path, *options: str, **settings: str) -> None:
    output = run_with_real("run", *options, "-c", WIDGET, picture, **settings)
    assert (output.returncode, output.stderr) == (0, "")
    drawn_by, *colours, fakers = output.stdout.splitlines()
    assert drawn_by.startswith("xcb ")
    assert colours == COLOURS
    assert fakers == "libdlfaker.so libvglfaker.so"
    assert picture.read_bytes().startswith(b"\x89PNG")


@needs_virtualgl
@pytest.mark.parametrize("options", [(), WITHOUT_GLX], ids=["GLX", "no GLX"])
def test_a_widget_is_drawn_on_a_3d_server(server: Server, tmp_path: Path, options: tuple[str, ...]) -> None:
    assert_widget_through_virtualgl(tmp_path / "out.png", *forced(server.display, *options))


@needs_virtualgl
def test_a_widget_is_drawn_on_an_egl_device(tmp_path: Path) -> None:
    assert_widget_through_virtualgl(tmp_path / "out.png", *forced("egl"))


@needs_virtualgl
@pytest.mark.parametrize("options", [(), WITHOUT_GLX, ("--vgl-no-dlfaker",)], ids=["GLX", "no GLX", "no dlfaker"])
def test_the_picture_is_drawn_by_virtualgl(server: Server, options: tuple[str, ...]) -> None:
    """The renderer is Mesa's with and without it; the vendor of GLX is not."""
    program = [sys.executable, rendercheck.__file__]
    said = said_by_rendercheck(run_with_real("exec", *forced(server.display, *options), *program))
    assert (said["result"], said["vendor"]) == ("drawn", "VirtualGL")
    said = said_by_rendercheck(run_with_real("exec", "--gl", "native", *program))
    assert said["result"] == "drawn"
    assert said["vendor"] != "VirtualGL"


@needs_virtualgl
def test_a_missing_3d_server_is_said() -> None:
    gone = nobody()
    output = run_with_real("run", *forced(gone), "-c", "print('ran')")
    assert (output.returncode, output.stdout) == (125, "")
    assert f"| virtualgl (on {gone}): ended: status 1; [VGL] ERROR: Could not open display {gone}." in output.stderr
    # Unforced, it is passed over.
    output = run_with_real("run", "--vgl-display", gone, "-c", "print('ran')")
    assert (output.returncode, output.stdout, output.stderr) == (0, "ran\n", "")


@needs_virtualgl
def test_a_missing_egl_device_is_said() -> None:
    output = run_with_real("run", *forced("egl7"), "-c", "print('ran')")
    assert (output.returncode, output.stdout) == (125, "")
    assert "| virtualgl (on egl7): ended: status 1; [VGL] ERROR: " in output.stderr
    assert "Invalid EGL device" in output.stderr


@needs_virtualgl
def test_a_3d_server_is_opened_with_the_callers_cookie(guarded: tuple[Server, Path], tmp_path: Path) -> None:
    outer, own = guarded
    entries = own.read_bytes()
    assert_widget_through_virtualgl(tmp_path / "out.png", *forced(outer.display), XAUTHORITY=str(own))
    assert own.read_bytes() == entries
    output = run_with_real("run", *forced(outer.display), "-c", "print('ran')", XAUTHORITY=os.devnull)
    assert (output.returncode, output.stdout) == (125, "")
    assert f"Could not open display {outer.display}." in output.stderr


@needs_virtualgl
@pytest.mark.needs("xdpyinfo")
def test_a_frozen_3d_server_is_given_up() -> None:
    with x_server() as frozen:
        frozen.process.suspend()
        wait_until(lambda: frozen.process.status() == psutil.STATUS_STOPPED, "the server stands still")
        start = time.monotonic()
        output = run_with_real("run", *forced(frozen.display, "--probe-timeout", "1"), "-c", "print('ran')")
        assert (output.returncode, output.stdout) == (125, "")
        assert f"| virtualgl (on {frozen.display}): hung: no picture within 1 s" in output.stderr
        assert 1 < time.monotonic() - start < 5
        frozen.process.resume()
        assert opens(frozen.display, environ_without_virtualgl())


@needs_virtualgl
@pytest.mark.parametrize("nodl", [False, True], ids=["", "nodl"])
@pytest.mark.parametrize(
    "preset",
    [
        {},
        {"LD_PRELOAD": "libm.so.6"},
        {"LD_PRELOAD": "libdlfaker.so:libvglfaker.so:libm.so.6", "LD_LIBRARY_PATH": "/opt/VirtualGL/lib64"},
        {"VGL_DISPLAY": "egl1", "VGL_COMPRESS": "proxy", "VGL_ISACTIVE": "0"},
    ],
    ids=lambda preset: " ".join(preset) or "empty",
)
def test_variables_are_those_of_vglrun(server: Server, preset: dict[str, str], nodl: bool) -> None:
    """But for absolute paths in the place of LD_LIBRARY_PATH, the session's variables, and those of vglrun's shell."""
    assert VGLRUN is not None
    if "LD_LIBRARY_PATH" in preset:
        preset = {**preset, "LD_LIBRARY_PATH": str(Path(VGLRUN).resolve().parent.parent / "lib64")}
    environ = environ_without_virtualgl(**preset)
    vglrun = [VGLRUN, "-d", server.display, *(["-nodl"] if nodl else []), "env", "-0"]
    theirs = subprocess.run(vglrun, env=environ, stdout=subprocess.PIPE, text=True, check=True, timeout=PATIENCE).stdout
    options = forced(server.display, *(["--vgl-no-dlfaker"] if nodl else []))
    output = run("exec", *options, "env", "-0", env=environ)
    assert output.returncode == 0

    def parsed(block: str) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in block.split("\0") if entry)

    def compared(found: dict[str, str]) -> dict[str, str]:
        preload = ":".join(map(os.path.basename, found["LD_PRELOAD"].split(":")))
        session = ("DISPLAY", "XAUTHORITY", "XDG_SESSION_TYPE", "XDG_RUNTIME_DIR", *SESSION_VARIABLES)
        others = (*session, "PYTHONPATH", "PWD", "OLDPWD", "SHLVL", "_", "LD_LIBRARY_PATH")
        return {**{name: found[name] for name in found if name not in others}, "LD_PRELOAD": preload}

    ours = parsed(output.stdout)
    assert compared(ours) == compared(parsed(theirs))
    assert ours.get("LD_LIBRARY_PATH") == preset.get("LD_LIBRARY_PATH")


@needs_virtualgl
@pytest.mark.parametrize("options", [("--gl", "native"), ("--gl", "virtualgl")], ids=["native", "virtualgl"])
def test_it_works_under_vglrun(server: Server, options: tuple[str, ...]) -> None:
    """The launcher itself runs with its fakers; the target has them once if it is to, and else not at all."""
    assert VGLRUN is not None
    command = [VGLRUN, "-d", server.display, ANAHEADLESS, "run", *options, "-c", REPORT]
    environ = environ_without_virtualgl(LD_PRELOAD="libm.so.6")
    report = Report(subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60))
    names = [os.path.basename(path) for path in report.preload]
    loaded = [os.path.basename(path) for path in report.loaded]
    if "native" in options:
        assert (names, loaded) == (["libm.so.6"], [])
    else:
        assert (names, loaded) == (
            ["libdlfaker.so", "libvglfaker.so", "libm.so.6"],
            ["libdlfaker.so", "libvglfaker.so"],
        )
        assert report.environ["VGL_DISPLAY"] == server.display


@needs_virtualgl
def test_the_program_may_call_vglrun(server: Server) -> None:
    """Who calls vglrun in a script gets it, with one pair of fakers."""
    assert VGLRUN is not None
    program = [VGLRUN, "-d", server.display, sys.executable, rendercheck.__file__]
    for options in (), tuple(forced("egl")):
        output = run_with_real("exec", *options, *program)
        assert (output.returncode, "vendor: VirtualGL\n" in output.stdout) == (0, True), output.stderr
        assert output.stdout.count("libvglfaker.so") == 1


@needs_virtualgl
def test_an_installed_virtualgl_is_found() -> None:
    found = hardware.find_virtualgl(os.get_exec_path())
    assert found is not None
    assert found.vglrun == VGLRUN


@needs_virtualgl
@pytest.mark.skipif(not os.path.exists("/opt/VirtualGL/lib64/libvglfaker.so"), reason="it is not in /opt/VirtualGL")
def test_a_wrapper_of_vglrun_does_not_hide_virtualgl(tmp_path: Path) -> None:
    """As sites have one on PATH, with options of their own: it is in no prefix of VirtualGL's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "vglrun").write_text('#!/bin/sh\nexec /opt/VirtualGL/bin/vglrun -d egl "$@"\n')
    (tmp_path / "bin" / "vglrun").chmod(0o755)
    found = hardware.find_virtualgl([str(tmp_path / "bin")])
    assert found is not None
    assert found.folder == "/opt/VirtualGL/lib64"
