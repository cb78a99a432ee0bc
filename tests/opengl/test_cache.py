"""What a run remembers for the next one: it costs no proof, and it is never believed when something has changed."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from anaheadless.opengl import cache
from anaheadless.opengl.cache import CacheEntry, CacheKey
from anaheadless.opengl.candidates import Candidate, ProbeResult, Selection
from anaheadless.session import discovery, helpers
from anaheadless.system.libraries import LIBRARY_FOLDERS
from tests.support.helpers import ANAHEADLESS, BIN, PATIENCE, PROGRAMS, User, owner, run, wait_until
from tests.support.namespaces import PrivateTmp

MESA = Candidate("mesa", "somewhere", {"A": "b"}, ("/lib/x.so",), ("/lib",), ("/lib/x.so",), "x.so")
FOUND = CacheEntry(
    accepts_early_clients=True,
    glx=True,
    selection=Selection(MESA, ((MESA, ProbeResult("drawn", renderer="llvmpipe", direct=True)),)),
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}


def files(environ: dict[str, str]) -> list[Path]:
    return list(Path(environ["XDG_CACHE_HOME"]).glob("anaheadless/*"))


def is_cached(environ: dict[str, str], *options: str) -> bool:
    """Whether a run, which has to go well, takes an earlier one's word."""
    output = run("run", "-v", *options, "-c", "print('ran')", env=environ)
    assert (output.returncode, output.stdout) == (0, "ran\n"), output.stderr
    assert output.stderr.count("tried") == 1
    return "(cached)" in output.stderr


def test_the_second_run_probes_nothing(environ: dict[str, str]) -> None:
    assert not is_cached(environ)
    (file,) = files(environ)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_size < 20_000
    assert is_cached(environ)
    assert not is_cached(environ, "--fresh")
    assert is_cached(environ)


@pytest.mark.parametrize(
    "options", [["--screen", "640x480"], ["--gl", "native"], ["--server-arg=-ac"], ["--dpi", "90"]]
)
def test_other_options_are_probed_anew(options: list[str], environ: dict[str, str]) -> None:
    assert not is_cached(environ)
    assert not is_cached(environ, *options)
    assert is_cached(environ, *options)


def test_the_program_draws_with_what_the_cache_says(environ: dict[str, str], tmp_path: Path) -> None:
    pictures = [tmp_path / "1.png", tmp_path / "2.png"]
    for picture in pictures:
        assert run("run", "--gl", "mesa", PROGRAMS / "gl_widget.py", picture, env=environ).returncode == 0
    assert pictures[0].read_bytes() == pictures[1].read_bytes()


def spoil(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-9])


def change(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"native", b"nvidia"))


def fill(file: Path) -> None:
    file.write_bytes(os.urandom(5000))


def empty(file: Path) -> None:
    file.write_bytes(b"")


def open_up(file: Path) -> None:
    file.chmod(0o666)


def link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def make_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def age(file: Path) -> None:
    os.utime(file, (file.stat().st_mtime - cache.MAX_AGE_SECONDS,) * 2)


def come_from_the_future(file: Path) -> None:
    """As files do when the clock is set back."""
    os.utime(file, (file.stat().st_mtime + 100,) * 2)


@pytest.mark.parametrize(
    "harm",
    [spoil, change, fill, empty, open_up, link, make_fifo, make_folder, age, come_from_the_future],
    ids=lambda harm: harm.__name__,
)
def test_a_damaged_cache_is_ignored(harm: Callable[[Path], None], environ: dict[str, str]) -> None:
    assert not is_cached(environ)
    harm(files(environ)[0])
    assert not is_cached(environ)
    assert is_cached(environ) or harm is make_folder


def test_a_changed_driver_is_probed_anew(environ: dict[str, str], tmp_path: Path) -> None:
    """One that OpenGL draws with, and one that would from now on."""
    found = (Path(folder) / "libdrm.so.2" for folder in LIBRARY_FOLDERS)
    original = next(path for path in found if path.exists())
    folder = tmp_path / "lib"
    folder.mkdir()
    environ["LD_LIBRARY_PATH"] = str(folder)
    assert not is_cached(environ)
    shutil.copy(original, folder)
    assert not is_cached(environ)
    assert is_cached(environ)
    driver = folder / "libdrm.so.2"
    os.utime(folder, ns=(0, 0))
    assert not is_cached(environ)
    os.truncate(driver, driver.stat().st_size + 1)
    assert not is_cached(environ)
    driver.unlink()
    os.utime(folder, ns=(0, 0))
    assert not is_cached(environ)


def test_an_interpreter_that_is_a_script_is_probed_anew(environ: dict[str, str], tmp_path: Path) -> None:
    """As those of pyenv: it starts one today, and another one tomorrow."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    assert not is_cached(environ, "--python", str(python))
    assert not is_cached(environ, "--python", str(python))


def test_other_variables_are_probed_anew(environ: dict[str, str]) -> None:
    assert not is_cached(environ)
    assert not is_cached({**environ, "GALLIUM_DRIVER": "softpipe"})
    assert is_cached({**environ, "UNRELATED": "1"})


def stand_in(folder: Path, environ: dict[str, str], words: str) -> Path:
    """A server that does as *words* say while there is a certain file."""
    flag = folder / "flag"
    server = folder / "Xvfb"
    server.write_text(f'#!/bin/sh\nif [ -e {flag} ]; then {words}; fi\nexec {shutil.which("Xvfb")} "$@"\n')
    server.chmod(0o755)
    environ["PATH"] = f"{folder}:{environ['PATH']}"
    return flag


@pytest.mark.parametrize("opengl", ["none", "auto"])
@pytest.mark.parametrize(
    ("words", "message"),
    [("echo no such luck; exit 1", "ended before it was ready"), ("exec sleep 600", "not ready within 1 s")],
)
@pytest.mark.needs("xdpyinfo")
def test_a_server_that_fails_against_the_cache_is_said_and_forgotten(
    opengl: str, words: str, message: str, environ: dict[str, str], tmp_path: Path, private_tmp: PrivateTmp
) -> None:
    """The target runs already: its own status is the truth, and the words are still said. The next run waits."""
    flag = stand_in(tmp_path, environ, words)
    options: tuple[str, ...] = ("--gl", opengl)
    assert private_tmp.run("exec", *options, "xdpyinfo", env=environ).returncode == 0
    options += ("--start-timeout", "1" if "sleep" in words else "30")
    flag.touch()
    output = private_tmp.run("exec", *options, "xdpyinfo", env=environ)
    assert output.returncode == 1
    assert "unable to open display" in output.stderr
    assert f"the X server was {message}" in output.stderr or f"the X server {message}" in output.stderr
    assert ("  | no such luck" in output.stderr) == ("luck" in words)
    assert files(environ) == []
    private_tmp.wait_until_nothing_is_left()
    output = private_tmp.run("exec", *options, "xdpyinfo", env=environ)
    assert (output.returncode, output.stdout) == (125, "")
    assert message in output.stderr
    flag.unlink()
    assert private_tmp.run("exec", "--gl", opengl, "xdpyinfo", env=environ).returncode == 0


@pytest.fixture
def slowly(environ: dict[str, str]) -> dict[str, str]:
    """An environment in which the launcher takes long to look up what is remembered."""
    return {**environ, "LD_LIBRARY_PATH": ":".join(["/a"] * 40_000)}


def test_a_server_that_fails_before_the_launcher_is_done_is_said_once(slowly: dict[str, str], tmp_path: Path) -> None:
    """It is forgotten all the same, the words are said once, and the target's time runs."""
    flag = stand_in(tmp_path, slowly, "echo no such luck; exit 1")
    options = ("--gl", "none", "--timeout", "1")
    assert run("exec", *options, "true", env=slowly).returncode == 0
    flag.touch()
    output = run("exec", *options, "sleep", "30", env=slowly)
    assert output.returncode == -signal.SIGTERM
    assert output.stderr.count("ended before it was ready") == 1
    assert files(slowly) == []


def test_a_server_that_fails_before_the_launcher_connects_is_said(slowly: dict[str, str], tmp_path: Path) -> None:
    """They don't wait for each other."""
    stand_in(tmp_path, slowly, "exit 1").touch()
    log = tmp_path / "log"
    output = run("exec", "--gl", "none", "--log", log, "true", env=slowly)
    assert output.returncode == 125
    assert "ended before it was ready" in output.stderr
    began, *_, ended = (datetime.fromisoformat(line[:19]) for line in log.read_text().splitlines())
    assert ended - began < timedelta(seconds=helpers.HELPER_SECONDS - 1)


@pytest.fixture
def user(users: list[User]) -> User:
    """An ordinary user with a cache."""
    cache = Path(users[0].hold).parent / "cache"
    cache.mkdir()
    os.chown(cache, users[0].uid, users[0].uid)
    users[0].settings["env"]["XDG_CACHE_HOME"] = str(cache)
    return users[0]


@pytest.mark.needs("prlimit")
@pytest.mark.needs("xdpyinfo")
def test_a_failure_is_said_without_another_process(user: User) -> None:
    """The keeper says it in its own way."""
    environ = user.settings["env"]
    flag = stand_in(Path(user.hold).parent, environ, "echo no such luck; prlimit --nproc=1 --pid $PPID; exit 1")
    command = ("exec", "--gl", "none", "xdpyinfo")
    assert user.run(*command).returncode == 0
    flag.touch()
    output = user.run(*command)
    assert output.returncode == 1
    assert "unable to open display" in output.stderr
    for words in "anaheadless: the X server ended before it was ready: ", "  | no such luck", "ulimit -a":
        assert output.stderr.count(words) == 1, output.stderr


@pytest.mark.needs("xdpyinfo")
def test_a_server_that_can_not_be_forked_is_said(user: User, slowly: dict[str, str]) -> None:
    """Or for what it needs itself; with the launcher gone already, or still there."""
    user.settings["env"]["LD_LIBRARY_PATH"] = slowly["LD_LIBRARY_PATH"]
    command = ("exec", "--gl", "none", "xdpyinfo")
    for more in range(1, 6):
        assert user.run(*command).returncode == 0
        wait_until(lambda: not user.left(), "nothing is left")
        # The kernel counts those, too, that PID 1 has not reaped yet.
        limit = more + sum(owner(f"/proc/{pid}") == user.uid for pid in psutil.pids())
        output = user.run(*command, preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_NPROC, (n, n)))
        if output.returncode:
            assert output.stderr.count("anaheadless: the ") == 1, output
            assert "ulimit -a" in output.stderr or "Fatal server error" in output.stderr, output


@pytest.mark.needs("xdpyinfo")
def test_a_late_server_is_said_though_the_launcher_was_stopped(slowly: dict[str, str], tmp_path: Path) -> None:
    flag = stand_in(tmp_path, slowly, "exec sleep 600")
    command = [ANAHEADLESS, "exec", "--gl", "none", "--start-timeout", "1"]
    subprocess.run([*command, "true"], env=slowly, check=True)
    flag.touch()
    with subprocess.Popen([*command, "xdpyinfo"], env=slowly, stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: process.pid in [session.target for session in discovery.sessions()], "there is a keeper")
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)  # it is late then
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert errors.count("not ready within 1 s") == 1
    assert files(slowly) == []


def test_no_pipe_of_the_program_is_kept_open(environ: dict[str, str]) -> None:
    """The keeper has the target's standard error for as long as the server starts, and no longer."""
    assert run("exec", "--gl", "none", "true", env=environ).returncode == 0
    command = [ANAHEADLESS, "exec", "--gl", "none", "sh", "-c", "exec sleep 600 2>&-"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.read() == b""
        process.kill()


@pytest.mark.parametrize("end", ["exit 3", "kill -SEGV $$", "kill -KILL $$"])
def test_after_a_failed_program_the_next_run_probes_again(end: str, environ: dict[str, str]) -> None:
    """It may be OpenGL that it has died of."""
    command = [ANAHEADLESS, "exec", "sh", "-c"]
    for _ in range(2):
        subprocess.run([*command, "exit 0"], env=environ, check=True)
    assert files(environ) != []
    with subprocess.Popen([*command, end], env=environ) as process:
        # Not reaped before: before Linux 6.15, nobody can be asked for the status of what is.
        wait_until(lambda: files(environ) == [], "what was remembered is forgotten")
        assert process.wait(PATIENCE) != 0


def test_a_cache_that_can_not_be_written_does_no_harm(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    output = run("run", "-v", "-c", "print('ran')", env=environ)
    assert (output.returncode, output.stdout) == (0, "ran\n")
    assert "can't keep the result of the OpenGL test" in output.stderr
    assert run("run", "-c", "print('ran')", env=environ).stderr == ""


def test_without_a_home_there_is_no_cache() -> None:
    assert run("run", "-c", "print('ran')", env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}).stderr == ""


def test_an_entry_is_loaded_as_it_was_stored(tmp_path: Path) -> None:
    key = CacheKey(str(tmp_path / "anaheadless" / "x"), "key")
    for found in FOUND, CacheEntry(accepts_early_clients=False, glx=False):
        cache.store(key, found)
        assert cache.load(key) == found
    assert cache.load(key.replace(text="another")) is None
    assert cache.load(CacheKey(str(tmp_path / "nowhere"), "key")) is None


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[]", "{}", '{"key": "key"}', '{"key": "key", "libraries": [], "candidate": "x"}'],
)
def test_a_file_of_anything_else_is_no_entry(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"%08x\n%b" % (zlib.crc32(text.encode()), text.encode()))
    path.chmod(0o600)
    assert cache.load(CacheKey(str(path), "key")) is None


@pytest.mark.needs("xdpyinfo")
def test_what_could_not_be_forgotten_is_not_cached(environ: dict[str, str], tmp_path: Path) -> None:
    """What can't be forgotten is not remembered."""
    environ["XDG_CACHE_HOME"] = str(tmp_path / "two  blanks")
    flag = stand_in(tmp_path, environ, "exit 1")
    command = ("exec", "--gl", "none", "xdpyinfo")
    assert run(*command, env=environ).returncode == 0
    flag.touch()
    run(*command, env=environ)
    assert run(*command, env=environ).returncode == 125


def test_many_writers_leave_whole_entries(tmp_path: Path) -> None:
    """Whoever reads finds one of what they write, whole."""
    key = CacheKey(str(tmp_path / "x"), "key")
    mesas = [MESA.replace(detail=f"{number}" * 1000) for number in range(8)]
    candidates = [FOUND.replace(selection=Selection(mesa, ((mesa, ProbeResult("drawn")),))) for mesa in mesas]
    cache.store(key, candidates[0])

    def write(found: CacheEntry) -> bool:
        for _ in range(50):
            cache.store(key, found)
            if cache.load(key) not in candidates:
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(write, candidates))
    assert os.listdir(tmp_path) == ["x"]


def test_only_the_newest_entries_are_kept(tmp_path: Path) -> None:
    (tmp_path / "somebody's").touch()
    (tmp_path / "00000000").mkdir()
    others = {"somebody's", "00000000"}
    for name in others:
        os.utime(tmp_path / name, (0, 0))
    for number in range(1, cache.MAX_FILES + 5):
        cache.store(CacheKey(str(tmp_path / f"{number:08}"), "key"), FOUND)
        os.utime(tmp_path / f"{number:08}", (number, number))
    cache.store(CacheKey(str(tmp_path / "ffffffff"), "key"), FOUND)
    names = set(os.listdir(tmp_path))
    assert len(names - others) == cache.MAX_FILES
    assert {"ffffffff", f"{cache.MAX_FILES + 4:08}", *others} <= names
    assert "00000001" not in names


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_makes_nothing_in_somebodys_home(tmp_path: Path) -> None:
    """It makes nothing there, and is not led elsewhere by what is there."""
    home, roots = tmp_path / "home", tmp_path / "root's"
    home.mkdir()
    roots.mkdir()
    os.chown(home, 54321, 54321)
    environ = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    environ["HOME"] = str(home)
    command = ("exec", "--gl", "none", "true")
    assert run(*command, env=environ).returncode == 0
    assert os.listdir(home) == []
    (home / ".cache").mkdir()
    (home / ".cache" / "anaheadless").symlink_to(roots)
    for path in home / ".cache", home / ".cache" / "anaheadless":
        os.chown(path, 54321, 54321, follow_symlinks=False)
    assert run(*command, env=environ).returncode == 0
    assert os.listdir(roots) == []


def test_the_key_changes_with_what_could_change_opengl(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "python"
    program.parent.mkdir()
    program.write_text("1")
    environ = {"HOME": "/home/x"}

    def key(*asked: object, **more: str) -> CacheKey | None:
        return cache.key_for({**environ, **more}, (str(program),), (), *asked)

    first = key(1)
    assert first is not None
    assert first.path.startswith("/home/x/.cache/anaheadless/")
    assert key(1) == first
    assert key(1, UNRELATED="1") == first
    different = [key(2), key(1, 1), key(1, LIBGL_DEBUG="1"), key(1, LD_LIBRARY_PATH=str(tmp_path))]
    different += [key(1, VK_ICD_FILENAMES="/x"), key(1, GLIBC_TUNABLES="glibc.rtld.nns=1")]
    (tmp_path / "lib").mkdir()
    different.append(key(1))
    program.write_text("22")
    different.append(key(1))
    assert len({first, *different}) == 9
    elsewhere = key(1, XDG_CACHE_HOME="/var/x")
    assert elsewhere is not None
    assert os.path.dirname(elsewhere.path) == "/var/x/anaheadless"
    assert key(1, XDG_CACHE_HOME="relative") == key(1)


@pytest.mark.parametrize("value", [":/nonexistent", "/nonexistent;", "libraries"])
def test_libraries_of_the_current_folder_are_in_the_key(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty entry of LD_LIBRARY_PATH means that."""
    found = []
    for name in "one", "two":
        (tmp_path / name / "libraries").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        found.append(
            [cache.key_for({"HOME": "/", "LD_LIBRARY_PATH": each}, (), ()) for each in (value, "/nonexistent")]
        )
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1]


def test_a_new_vendor_of_libglvnd_changes_the_key(environ: dict[str, str], tmp_path: Path) -> None:
    vendors = Path("/usr/share/glvnd/egl_vendor.d")
    if not vendors.is_dir() or shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("needs root, unshare and libglvnd")
    shutil.copytree(vendors, tmp_path / "vendors")
    (tmp_path / "vendors" / "10_new.json").touch()
    assert not is_cached(environ)
    words = f'mount --bind {tmp_path / "vendors"} {vendors} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", words, "sh", ANAHEADLESS, "run", "-v", "-c", "pass"]
    output = subprocess.run(command, env=environ, capture_output=True, text=True)
    if "unshare" in output.stderr or "mount" in output.stderr:
        pytest.skip(output.stderr)
    assert output.stderr.count("tried") == 1
    assert "(cached)" not in output.stderr


def test_start_and_python_use_the_cache_too(environ: dict[str, str]) -> None:
    for _ in range(2):
        verbose = {**environ, "ANAHEADLESS_VERBOSE": "1"}
        output = run("-c", "pass", command=str(BIN / "anaheadless-python"), env=verbose)
    assert "(cached)" in output.stderr
    output = run("start", "-v", "--json", "--pid", str(os.getpid()), env=environ)
    assert "(cached)" in output.stderr
    assert run("stop", json.loads(output.stdout)["DISPLAY"]).returncode == 0
