"""Whatever the OpenGL libraries do: what draws is found, or the run fails closed, says why, and leaves nothing.

The libraries are real ones, made by gcc here (programs/broken_gl.c) and found by ld.so as a user's would be.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from anaheadless.opengl import hardware, rendercheck
from anaheadless.system import libraries, processes
from anaheadless.x11 import display_number
from tests.support.drivers import BROKEN, HANG, HANGS, broken_gl, lacking_vendor, library, vendor_with_libstdcxx
from tests.support.helpers import (
    ANAHEADLESS,
    PATIENCE,
    PROGRAMS,
    SOCKETS,
    count_servers,
    is_running,
    processes_of,
    run,
    wait_until,
    write_program,
)
from tests.support.namespaces import in_namespaces, needs_namespaces

NEITHER = {"native", "mesa (chosen by libglvnd)"}
RENDERCHECK = rendercheck.__file__  # as a target: it says what drew in there
hanging = pytest.mark.parametrize("arguments", HANGS.values(), ids=HANGS)


def real_gl(folder: Path) -> Path:
    """The system's own libGL in *folder*; what that needs in turn, ld.so finds as before."""
    found = libraries.find_library("libGL.so.1")
    assert found is not None
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copyfile(found, folder / "libGL.so.1"))


@pytest.fixture
def surroundings(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment to break: nothing in it chooses an OpenGL, and the server is none of what is broken.

    Each server that is started notes that in the file ``servers``.
    """
    # Xvfb is linked with libGL: what is broken for the target must not be so for the server here.
    server = f'exec {shutil.which("Xvfb")} "$@"'
    write_program(tmp_path / "bin" / "Xvfb", f"echo $$ >>{tmp_path}/servers", "unset LD_LIBRARY_PATH", server)
    chosen = re.compile("DISPLAY|LD_.*|LIBGL_.*|MESA_.*|GALLIUM_.*|VGL_.*|__GLX_.*|__EGL_.*|ANAHEADLESS_.*")
    environ = {name: value for name, value in os.environ.items() if not chosen.fullmatch(name)}
    yield {**environ, "PATH": f"{tmp_path}/bin:{environ['PATH']}"}
    wait_until(lambda: not processes_of(tmp_path), "no process of the test is left")


class Outcome:
    """What ``anaheadless run -v --no-virtualgl`` came to."""

    def __init__(self, *args: str | Path, env: dict[str, str], timeout: float = 60) -> None:
        self.output = output = run("run", "-v", "--no-virtualgl", *args, env=env, timeout=timeout)
        self.said: str = output.stderr
        tried = re.findall(r"^anaheadless: tried (.+?): (.+) \(\d+\.\d\d s\)$", self.said, re.MULTILINE)
        self.tried: dict[str, str] = dict(tried)
        assert len(self.tried) == len(tried), "a candidate was tried twice"
        chosen = re.search("^anaheadless: OpenGL: (.+)$", self.said, re.MULTILINE)
        assert chosen, self.said
        self.chosen: str = chosen[1]
        started = re.search(r"^anaheadless: display :(\d+), .+ \(keeper (\d+)\)$", self.said, re.MULTILINE)
        assert started, self.said
        self.number, self.keeper = map(int, started.groups())

    def assert_failed_closed(self, *words: str) -> None:
        """Nothing was started, one line for each candidate, something to do; and the server is gone by then."""
        assert (self.output.returncode, self.output.stdout) == (125, ""), self.output
        assert self.chosen == "none could be proved"
        assert "Traceback" not in self.said
        error = self.said[self.said.index("anaheadless: no OpenGL: nothing could be drawn\n") :].splitlines()
        assert error[1:-1] == [f"  | {candidate}: {result}" for candidate, result in self.tried.items()]
        for word in ("--gl none", "anaheadless doctor", *words):
            assert word in error[-1]
        wait_until(lambda: not processes.is_alive(self.keeper), "the keeper has ended")
        assert not any(path.exists() for path in (SOCKETS / f"X{self.number}", Path(f"/tmp/.X{self.number}-lock")))

    def assert_drawn(self, candidate: str) -> dict[str, str]:
        """The target, which is rendercheck.py, has drawn with *candidate*; what it found."""
        assert (self.output.returncode, self.chosen) == (0, candidate), self.output
        found = dict(line.split(": ", 1) for line in self.output.stdout.splitlines())
        assert found["result"] == "drawn"
        assert self.tried[candidate].startswith(f"{found['renderer']}, ")
        return found


# --- the parts are there, and fail


def test_a_vendor_library_that_can_not_be_loaded_is_named(surroundings: dict[str, str], tmp_path: Path) -> None:
    """It is ld.so that says why, not libglvnd."""
    environ = {**surroundings, **lacking_vendor(tmp_path / "lib")}
    outcome = Outcome("-c", "print('run')", env=environ)
    outcome.assert_failed_closed("Install Mesa's drivers (Debian: libgl1-mesa-dri).")
    assert set(outcome.tried) == NEITHER
    for said in outcome.tried.values():
        assert re.match(r"no .+; libgallium-gone\.so: cannot open shared object file", said), said
    assert count_servers(tmp_path) == 1


def test_missing_drivers_are_named_with_their_package(surroundings: dict[str, str], tmp_path: Path) -> None:
    environ = {**surroundings, "LIBGL_DRIVERS_PATH": "/nonexistent"}
    outcome = Outcome("-c", "print('run')", env=environ)
    if outcome.output.returncode == 0:
        pytest.skip("this Mesa is linked with its drivers")
    outcome.assert_failed_closed("Install Mesa's drivers (Debian: libgl1-mesa-dri).")
    assert set(outcome.tried) > NEITHER  # a libstdc++ may have been in the way: that was tried, too
    for said in outcome.tried.values():
        assert said.startswith("refused: ")
        assert "failed to load driver" in said
        assert "/nonexistent" in said
    assert count_servers(tmp_path) == 1
    output = run("run", "--gl", "none", "-c", "print('run')", env=environ)
    assert (output.returncode, output.stdout, output.stderr) == (0, "run\n", "")


@pytest.mark.parametrize(
    "asked",
    [{}, {"__GLX_VENDOR_LIBRARY_NAME": "another"}, {"LD_LIBRARY_PATH": "/nonexistent"}, {"GALLIUM_DRIVER": "softpipe"}],
    ids=lambda asked: "".join(asked) or "nothing",
)
def test_drivers_are_loaded_while_the_server_starts(asked: dict[str, str], surroundings: dict[str, str]) -> None:
    """But where anything asks for another one, only that is to be loaded: it tells what has drawn, and whose it is."""
    environ = {**surroundings, **asked}
    with display_number.claim() as claim:
        environ["DISPLAY"] = f":{claim.number}"
        with subprocess.Popen([sys.executable, "-s", "-S", RENDERCHECK], env=environ) as process:
            try:
                ready, *_ = select.select(claim.listeners, [], [], PATIENCE)
                assert ready, "it has not come to the server"
                maps = Path(f"/proc/{process.pid}/maps").read_text()
            finally:
                process.kill()
    assert bool(re.search(r"/swrast_dri\.so|/libgallium", maps)) == (not asked), maps


def test_a_broken_driver_where_mesa_does_not_look_does_no_harm(surroundings: dict[str, str], tmp_path: Path) -> None:
    """It stands in the place of the system's own driver, which nobody wants here."""
    own = next(iter(Path("/usr/lib").glob("*/dri")), None)
    if own is None or not (own / "swrast_dri.so").exists():
        pytest.skip("Mesa has no folder of drivers")
    broken = library(tmp_path / "dri" / "swrast_dri.so", PROGRAMS / "broken_gl.c", "-DON_LOAD=abort()")
    environ = {**surroundings, "LIBGL_DRIVERS_PATH": str(shutil.copytree(own, tmp_path / "drivers"))}
    words = ("unshare", "--mount", "sh", "-c", f'mount --bind {broken} {own}/swrast_dri.so && exec "$@"', "sh")
    output = run("exec", "--no-virtualgl", *words, sys.executable, "-s", "-S", RENDERCHECK, env=environ)
    if "unshare" in output.stderr or "mount" in output.stderr:
        pytest.skip(output.stderr)
    assert (output.returncode, "result: drawn" in output.stdout) == (0, True), output


def test_a_server_without_glx_is_said(surroundings: dict[str, str], tmp_path: Path) -> None:
    without = ("--server-arg=-extension", "--server-arg=GLX")
    outcome = Outcome(*without, "-c", "print('run')", env=surroundings)
    outcome.assert_failed_closed("libgl1-mesa-dri", "--server-arg")
    assert outcome.tried == dict.fromkeys(NEITHER, "no GLX: the X server has no GLX")
    assert count_servers(tmp_path) == 1


@pytest.mark.parametrize(("arguments", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_libgl_is_said(arguments: list[str], said: str, surroundings: dict[str, str], tmp_path: Path) -> None:
    environ = {**surroundings, "LD_LIBRARY_PATH": str(broken_gl(tmp_path / "lib", *arguments).parent)}
    outcome = Outcome("-c", "print('run')", env=environ)
    outcome.assert_failed_closed("LD_LIBRARY_PATH")
    assert outcome.tried == dict.fromkeys(NEITHER, said)
    assert count_servers(tmp_path) == 1


def test_a_file_that_is_no_libgl_is_said(surroundings: dict[str, str], tmp_path: Path) -> None:
    """As a full disk or a broken download leaves it."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libGL.so.1").write_bytes(b"\x7fELF, or so it seems")
    outcome = Outcome("-c", "print('run')", env={**surroundings, "LD_LIBRARY_PATH": str(tmp_path / "lib")})
    outcome.assert_failed_closed()
    assert set(outcome.tried) == NEITHER
    assert all(re.match(f"no library: {tmp_path}/lib/libGL.so.1: ", said) for said in outcome.tried.values())


# --- the parts hang


@hanging
def test_a_libgl_that_hangs_is_given_up(arguments: list[str], surroundings: dict[str, str], tmp_path: Path) -> None:
    environ = {**surroundings, "LD_LIBRARY_PATH": str(broken_gl(tmp_path / "lib", *arguments).parent)}
    outcome = Outcome("--probe-timeout", "0.6", "-c", "print('run')", env=environ, timeout=20)
    outcome.assert_failed_closed("a library hangs", "--probe-timeout")
    words = "; waiting for the GPU" if "waiting" in arguments[0] else ""
    assert outcome.tried == dict.fromkeys(NEITHER, f"hung: no picture within 0.6 s{words}")
    wait_until(lambda: not processes_of(tmp_path), "keeper and proofs have ended", timeout=5)
    assert count_servers(tmp_path) == 1


@hanging
def test_nothing_hangs_on_after_the_launcher_is_killed(
    arguments: list[str], surroundings: dict[str, str], tmp_path: Path
) -> None:
    """Nobody is left to end the proof: it ends itself."""
    path = broken_gl(tmp_path / "lib", *arguments)
    command = [ANAHEADLESS, "run", "--no-virtualgl", "--probe-timeout", "0.9", "-c", "print('run')"]
    environ = {**surroundings, "LD_LIBRARY_PATH": str(path.parent)}

    checks: list[psutil.Process] = []

    def hung() -> bool:
        for process in processes_of(tmp_path):
            with suppress(psutil.Error, OSError):  # it has ended meanwhile
                loaded = str(path) in Path(f"/proc/{process.pid}/maps").read_text()
                if loaded and RENDERCHECK in process.cmdline():
                    checks.append(process)
        return bool(checks)

    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            wait_until(hung, "a proof that hangs")
            process.kill()
            assert process.communicate(timeout=PATIENCE) == (b"", b"")
            assert process.returncode == -signal.SIGKILL
            wait_until(lambda: not any(map(is_running, checks)), "the proof ends itself", timeout=10)
            wait_until(lambda: not processes_of(tmp_path), "keeper and server end", timeout=10)
        finally:
            process.kill()
            for check in filter(is_running, checks):
                check.kill()
    assert count_servers(tmp_path) <= 1  # the proof may begin, and the launcher be killed, before the server is started


def test_all_probes_together_have_a_time_limit(surroundings: dict[str, str], tmp_path: Path) -> None:
    """Four candidates hang, for the words suggest a repair of the first two: only three have the time for it."""
    words = '-DON_LOAD=fputs("version `GLIBCXX_3.4.99\' not found\\n", stderr); ' + HANG
    environ = {**surroundings, "LD_LIBRARY_PATH": str(broken_gl(tmp_path / "lib", words).parent)}
    start = time.monotonic()
    outcome = Outcome("--probe-timeout", "0.5", "-c", "print('run')", env=environ, timeout=20)
    assert time.monotonic() - start < 10
    outcome.assert_failed_closed()
    *hung, last = outcome.tried.values()
    assert len(hung) == 3
    assert all(said.startswith("hung: no picture within 0.") for said in hung)
    assert last == "not tried: the time for all probes was used up"
    assert list(outcome.tried)[-1].startswith("mesa (chosen by libglvnd, with ")


def test_a_candidate_after_a_hanging_one_still_has_its_time(surroundings: dict[str, str], tmp_path: Path) -> None:
    broken_gl(tmp_path / "lib", f"-DIN_QUERY={HANG}")
    mesa = real_gl(tmp_path / "lib" / "mesa")
    environ = {**surroundings, "LD_LIBRARY_PATH": str(tmp_path / "lib")}
    outcome = Outcome("--gl", "mesa", "--probe-timeout", "1.5", RENDERCHECK, env=environ)
    found = outcome.assert_drawn(f"mesa (in {mesa.parent})")
    assert outcome.tried["mesa (chosen by libglvnd)"] == "hung: no picture within 1.5 s"
    assert str(mesa) in found["libraries"].split(":")
    assert count_servers(tmp_path) == 1


def test_a_process_that_a_library_leaves_is_not_waited_for(surroundings: dict[str, str], tmp_path: Path) -> None:
    """It has the proof's standard streams open; the proof itself has ended, and is not to be waited for any more."""
    (tmp_path / "stay").touch()
    stay = f'for (int i = 0; i < 150 && !access("{tmp_path}/stay", F_OK); i++) usleep(10000)'
    path = broken_gl(tmp_path / "lib", f"-DON_LOAD=if (!fork()) {{ setsid(); {stay}; _exit(0); }}")
    environ = {**surroundings, "LD_LIBRARY_PATH": str(path.parent)}
    outcome = Outcome("--gl", "native", "--probe-timeout", "1", "-c", "print('run')", env=environ)
    (tmp_path / "stay").unlink()
    assert outcome.tried == {"native": BROKEN["draws nothing"][1]}


# --- an older libstdc++ is in the way


@pytest.fixture
def stub_libstdcxx(surroundings: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The surroundings with a libstdc++ that is older than everything."""
    return {**surroundings, "LD_LIBRARY_PATH": str(library(tmp_path / "old" / "libstdc++.so.6", None).parent)}


def test_the_systems_libstdcxx_helps_where_an_older_one_is_in_the_way(
    stub_libstdcxx: dict[str, str], tmp_path: Path
) -> None:
    system = libraries.find_library("libstdc++.so.6")
    assert system is not None
    found = (outcome := Outcome(RENDERCHECK, env=stub_libstdcxx)).assert_drawn(f"native (with {system})")
    assert list(outcome.tried) == ["native", "mesa (chosen by libglvnd)", f"native (with {system})"]
    for candidate in NEITHER:  # Mesa's own words, or since 24.2 those of ld.so
        assert re.search("failed to load driver|GLIBCXX|CXXABI", outcome.tried[candidate])
    # The first one that was loaded is the one that counts.
    assert os.path.realpath(system) in found["libraries"].split(":")
    assert str(tmp_path / "old") not in found["libraries"]
    assert count_servers(tmp_path) == 1

    own = library(tmp_path / "own.so", None)
    code = "import os; print(os.environ['LD_PRELOAD'], os.environ['LD_LIBRARY_PATH'])"
    output = run("run", "-c", code, env={**stub_libstdcxx, "LD_PRELOAD": str(own)})
    assert (output.returncode, output.stderr) == (0, "")
    assert output.stdout == f"{system}:{own} {stub_libstdcxx['LD_LIBRARY_PATH']}\n"


@pytest.mark.parametrize(("vendor", "backend"), [("mesa", "auto"), ("nvidia", "nvidia")])
def test_words_that_libglvnd_hides_are_heard(
    vendor: str, backend: str, stub_libstdcxx: dict[str, str], tmp_path: Path
) -> None:
    """As of Mesa from 24.2 on, whose library can't be loaded at all; libglvnd says nothing, or takes another one."""
    system = libraries.find_library("libstdc++.so.6")
    vendor_with_libstdcxx(tmp_path / "old", vendor)
    (tmp_path / "versions").write_text("GLIBCXX_3.3 { };")  # ld.so compares only where there are any
    library(tmp_path / "old" / "libstdc++.so.6", None, f"-Wl,--version-script={tmp_path}/versions")
    outcome = Outcome("--gl", backend, RENDERCHECK, env=stub_libstdcxx)
    name = "nvidia" if vendor == "nvidia" else "native"
    assert re.search("no GLX|no config|refused|not loaded", outcome.tried[name])
    assert re.search("GLIBCXX|CXXABI", outcome.tried[name])
    found = outcome.assert_drawn(f"{name} (with {system})")
    assert f"{tmp_path}/old/libGLX_{vendor}.so.0" in found["libraries"]


def test_a_widget_is_drawn_with_the_systems_libstdcxx(stub_libstdcxx: dict[str, str], tmp_path: Path) -> None:
    widget = [PROGRAMS / "gl_widget.py", tmp_path / "triangle.png"]
    without = subprocess.run([sys.executable, *widget], env=stub_libstdcxx, capture_output=True, text=True, timeout=60)
    assert "CXXABI" in without.stderr or "GLIBCXX" in without.stderr, "the stub is in nobody's way"
    output = run("run", *widget, env=stub_libstdcxx)
    assert (output.returncode, output.stderr) == (0, "")
    assert output.stdout.splitlines()[1:] == ["255 0 0", "0 0 255"]


# --- Mesa's cache has no room on its disk

NO_CACHE = (
    "anaheadless: Mesa crashed (bus error) until its shader cache was switched off, so this run does without the "
    "cache: is the disk of XDG_CACHE_HOME (default: ~/.cache) full?\n"
)


@needs_namespaces
def test_a_full_disk_under_mesas_cache_does_no_harm(surroundings: dict[str, str], tmp_path: Path) -> None:
    """Mesa 22 dies of that, 25 does not."""
    (tmp_path / "cache").mkdir()
    fill = f"mount -t tmpfs -o size=64k none {tmp_path}/cache; head -c 64k /dev/zero >{tmp_path}/cache/fill"
    environ = {**surroundings, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    widget = (PROGRAMS / "gl_widget.py", tmp_path / "triangle.png")
    output = in_namespaces(ANAHEADLESS, "run", "--no-virtualgl", *widget, setup=fill, env=environ)
    assert (output.returncode, output.stdout.splitlines()[1:]) == (0, ["255 0 0", "0 0 255"]), output
    assert output.stderr in ("", NO_CACHE)


@pytest.fixture
def no_room(surroundings: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The surroundings with a Mesa that can't write its cache, whichever Mesa there is."""
    source = tmp_path / "no_room.c"
    source.write_text("""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <signal.h>
        #include <stdlib.h>
        void *glXChooseVisual(void *display, int screen, int *wanted) {
            if (!getenv("MESA_SHADER_CACHE_DISABLE")) raise(SIGBUS);
            void *(*real)(void *, int, int *) = dlsym(dlopen("libGL.so.1", RTLD_NOW), "glXChooseVisual");
            return real(display, screen, wanted);
        }
    """)
    path = library(tmp_path / "no_room.so", source)
    return {**surroundings, "LD_PRELOAD": str(path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_mesa_draws_without_a_cache_that_it_can_not_write(no_room: dict[str, str], tmp_path: Path) -> None:
    """It draws without, each time anew; one line says so, until there is room again."""
    name = "native (without Mesa's disk cache)"
    for _ in range(2):
        outcome = Outcome(RENDERCHECK, env=no_room)
        outcome.assert_drawn(name)
        assert dict.fromkeys(NEITHER, "crashed: Bus error").items() <= outcome.tried.items()
    output = run("run", "-c", "print('run')", env=no_room)
    assert (output.returncode, output.stdout, output.stderr) == (0, "run\n", NO_CACHE)
    del no_room["LD_PRELOAD"]
    code = "import os; print([name for name in os.environ if 'CACHE_DISABLE' in name])"
    output = run("run", "-c", code, env=no_room)
    assert (output.returncode, output.stdout, output.stderr) == (0, "[]\n", "")


# --- another Mesa helps


@pytest.mark.parametrize("how", ["refuses", "crashes when loaded", "draws nothing"])
def test_mesa_is_found_beside_a_broken_libgl(how: str, surroundings: dict[str, str], tmp_path: Path) -> None:
    arguments, said = BROKEN[how]
    path, mesa = broken_gl(tmp_path / "lib", *arguments), real_gl(tmp_path / "lib" / "mesa")
    environ = {**surroundings, "LD_LIBRARY_PATH": str(path.parent)}
    outcome = Outcome(RENDERCHECK, env=environ)
    found = outcome.assert_drawn(f"mesa (in {mesa.parent})")
    assert [outcome.tried[candidate] for candidate in NEITHER] == [said, said]
    # In the target itself, by its /proc/self/maps.
    assert str(mesa) in found["libraries"].split(":")
    assert str(path) not in found["libraries"].split(":")
    assert count_servers(tmp_path) == 1


def test_a_widget_is_drawn_by_mesa_beside_a_broken_libgl(surroundings: dict[str, str], tmp_path: Path) -> None:
    path, mesa = broken_gl(tmp_path / "lib"), real_gl(tmp_path / "mesalib" / "lib")
    environ = {**surroundings, "LD_LIBRARY_PATH": str(path.parent)}
    output = run("run", PROGRAMS / "gl_widget.py", tmp_path / "triangle.png", env=environ)
    assert (output.returncode, output.stderr) == (0, "")
    assert output.stdout.splitlines()[1:] == ["255 0 0", "0 0 255"]
    code = "import os; print(*(os.environ[name] for name in ('LD_PRELOAD', 'LD_LIBRARY_PATH')))"
    assert run("run", "-c", code, env=environ).stdout == f"{mesa} {mesa.parent}:{path.parent}\n"


def test_a_mesa_that_is_broken_too_is_said(surroundings: dict[str, str], tmp_path: Path) -> None:
    broken_gl(tmp_path / "lib")
    mesa = broken_gl(tmp_path / "lib" / "mesa", *BROKEN["crashes"][0])
    environ = {**surroundings, "LD_LIBRARY_PATH": str(tmp_path / "lib")}
    outcome = Outcome("-c", "print('run')", env=environ)
    outcome.assert_failed_closed("LD_LIBRARY_PATH")
    wrong = BROKEN["draws nothing"][1]
    assert list(outcome.tried.values()) == [wrong, wrong, BROKEN["crashes"][1]]
    assert list(outcome.tried)[-1] == f"mesa (in {mesa.parent})"


def test_a_mesa_that_nobody_needs_is_not_looked_for(surroundings: dict[str, str], tmp_path: Path) -> None:
    broken_gl(tmp_path / "lib" / "mesa")
    outcome = Outcome(RENDERCHECK, env={**surroundings, "LD_LIBRARY_PATH": str(tmp_path / "lib")})
    found = outcome.assert_drawn("native")
    assert list(outcome.tried) == ["native"]
    assert str(tmp_path) not in found["libraries"]


def test_mesa_is_found_by_the_linker_cache(surroundings: dict[str, str], tmp_path: Path) -> None:
    path, mesa = broken_gl(tmp_path / "lib"), real_gl(tmp_path / "brainvisa" / "mesalib" / "lib")
    line = f"\tlibbrain.so.5 (libc6,x86-64) => {tmp_path}/brainvisa/lib/libbrain.so.5"
    write_program(tmp_path / "bin" / "ldconfig", f"echo '1 libs found in cache'; echo '{line}'")
    found = Outcome(RENDERCHECK, env={**surroundings, "LD_LIBRARY_PATH": str(path.parent)}).assert_drawn(
        f"mesa (in {mesa.parent})"
    )
    assert str(mesa) in found["libraries"].split(":")


def test_mesa_is_found_beside_a_relative_folder(
    surroundings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target may go elsewhere, and start programs there."""
    broken_gl(tmp_path / "lib")
    real_gl(tmp_path / "lib" / "mesa")
    monkeypatch.chdir(tmp_path)
    code = f"import os; os.chdir('/'); os.execv('{sys.executable}', ['python', '{RENDERCHECK}'])"
    output = run("run", "-c", code, env={**surroundings, "LD_LIBRARY_PATH": "lib"})
    assert (output.returncode, output.stderr) == (0, "")
    assert f"{tmp_path}/lib/mesa/libGL.so.1" in output.stdout


def test_mesa_is_found_beside_a_folder_with_a_blank(surroundings: dict[str, str], tmp_path: Path) -> None:
    broken_gl(tmp_path / "my lib")
    real_gl(tmp_path / "my lib" / "mesa")
    output = run("run", RENDERCHECK, env={**surroundings, "LD_LIBRARY_PATH": f"{tmp_path}/my lib"})
    assert (output.returncode, output.stderr) == (0, "")


def test_libraries_may_be_in_a_folder_that_is_not_utf8(surroundings: dict[str, str], tmp_path: Path) -> None:
    """Nothing is wrong with the library, and nothing with the drivers."""
    path = real_gl(tmp_path / os.fsdecode(b"biblioth\xe8que"))
    Outcome(RENDERCHECK, env={**surroundings, "LD_LIBRARY_PATH": str(path.parent)}).assert_drawn("native")


# --- the server is started in the same surroundings


def test_the_systems_server_runs_beside_a_broken_libgl(surroundings: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "Xvfb").unlink()
    path, mesa = broken_gl(tmp_path / "lib", *BROKEN["refuses"][0]), real_gl(tmp_path / "lib" / "mesa")
    environ = {**surroundings, "LD_LIBRARY_PATH": str(path.parent)}
    Outcome(RENDERCHECK, env=environ).assert_drawn(f"mesa (in {mesa.parent})")


def test_the_systems_server_runs_beside_an_older_libstdcxx(stub_libstdcxx: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "Xvfb").unlink()
    system = libraries.find_library("libstdc++.so.6")
    Outcome(RENDERCHECK, env=stub_libstdcxx).assert_drawn(f"native (with {system})")


# --- where another Mesa is looked for


@pytest.mark.parametrize("place", ["lib/mesa", "lib/mesalib/lib", "mesalib/lib"])
def test_mesa_is_found_beside_a_folder_of_ld_library_path(place: str, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    environ = {"LD_LIBRARY_PATH": f"/nonexistent::{tmp_path}/lib:"}
    assert hardware.find_mesa(environ) is None
    (tmp_path / place).mkdir(parents=True)
    assert hardware.find_mesa(environ) is None  # a folder alone is no Mesa
    real_gl(tmp_path / place)
    assert hardware.find_mesa(environ) == str(tmp_path / place)
    assert hardware.find_mesa({}) is None


@pytest.mark.parametrize("place", ["lib/mesa", "lib/mesalib/lib", "mesalib/lib"])
def test_mesa_is_found_beside_a_folder_of_the_linker_cache(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_gl(tmp_path / place)
    lines = ["1 libs found in cache `/etc/ld.so.cache'", f"\tlibbrain.so (libc6,x86-64) => {tmp_path}/lib/libbrain.so"]
    write_program(tmp_path / "bin" / "ldconfig", f"cat <<'EOF'\n{chr(10).join(lines)}\nEOF")
    assert hardware.find_mesa({}) is None
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    assert libraries.linker_cache() == [f"{tmp_path}/lib/libbrain.so"]
    assert hardware.find_mesa({}) == str(tmp_path / place)
    # What the user names comes first.
    real_gl(tmp_path / "other" / "mesa")
    assert hardware.find_mesa({"LD_LIBRARY_PATH": f"{tmp_path}/other"}) == f"{tmp_path}/other/mesa"


FIND = "import sys; from anaheadless.opengl import hardware; print(hardware.find_mesa({}))"


@pytest.mark.parametrize("place", ["lib/mesa", "lib/mesalib/lib", "mesalib/lib"])
def test_mesa_is_found_beside_a_loaded_library(place: str, tmp_path: Path) -> None:
    loaded = library(tmp_path / "lib" / "libbrain.so.5", None)
    real_gl(tmp_path / place)
    for load, found in (f"import ctypes; ctypes.CDLL('{loaded}')", str(tmp_path / place)), ("pass", "None"):
        code = f"{load}; {FIND}"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (output.stdout, output.stderr) == (f"{found}\n", "")


@needs_namespaces
def test_mesa_is_found_without_ldconfig(tmp_path: Path) -> None:
    """As on Alpine and Nix; the other two ways are still there."""
    loaded = library(tmp_path / "lib" / "libbrain.so.5", None)
    real_gl(tmp_path / "mesalib" / "lib")
    hide = 'for path in /sbin/ldconfig /usr/sbin/ldconfig; do test ! -e "$path" || mount --bind /dev/null "$path"; done'
    gone = "from anaheadless.system import libraries; assert libraries.linker_cache() == [], 'ldconfig is still there'"
    load = f"import ctypes; ctypes.CDLL('{loaded}')"
    named = FIND.replace("{}", f"{{'LD_LIBRARY_PATH': '{tmp_path}/lib'}}")
    mesa = f"{tmp_path}/mesalib/lib"
    for code, found in (FIND, "None"), (f"{load}; {FIND}", mesa), (named, mesa):
        output = in_namespaces(sys.executable, "-c", f"{code}; {gone}", setup=hide)
        assert (output.stdout, output.stderr) == (f"{found}\n", "")


@pytest.mark.parametrize("ldconfig", ["exit 1", "kill -SEGV $$", "echo ' => '", "echo 'a => b => c'; echo '=>'"])
def test_mesa_is_found_with_a_broken_ldconfig(ldconfig: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_program(tmp_path / "bin" / "ldconfig", ldconfig)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    assert hardware.find_mesa({}) is None
    real_gl(tmp_path / "lib" / "mesa")
    assert hardware.find_mesa({"LD_LIBRARY_PATH": f"{tmp_path}/lib"}) == f"{tmp_path}/lib/mesa"
