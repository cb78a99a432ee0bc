"""The cookie reaches all that a program starts, and nobody else, and goes with the session."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from PyQt5.QtGui import QImage

from anaheadless.system import private_files
from anaheadless.x11.display_number import NUMBERS, socket_path
from tests.support.helpers import ANAHEADLESS, PATIENCE, Session, User, holding, is_running, run, wait_until
from tests.support.namespaces import PrivateTmp, in_namespaces, namespaces, needs_namespaces

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
needs_xauth = pytest.mark.needs("xauth")
needs_chromium = pytest.mark.needs("chromium")

WITHOUT_RUNTIME_FOLDER = {name: value for name, value in os.environ.items() if name != "XDG_RUNTIME_DIR"}
NO_CAPABILITIES = ("setpriv", "--bounding-set", "-all", "--inh-caps", "-all")
CLIENT = "xdpyinfo >/dev/null && echo connected"


@pytest.fixture(scope="module")
def session() -> Iterator[Session]:
    with holding("--gl", "none") as session:
        yield session


def test_the_cookie_is_in_a_file_that_only_its_user_can_read() -> None:
    with holding("--gl", "none") as session:
        file = Path(session.authority)
        assert (file.stat().st_uid, stat.filemode(file.stat().st_mode)) == (os.geteuid(), "-rw-------")
        assert (file.parent.stat().st_uid, stat.filemode(file.parent.stat().st_mode)) == (os.geteuid(), "drwx------")
        assert file.parent.parent == Path("/tmp")
        assert str(session.number) in file.name
    wait_until(lambda: not file.exists(), "the file is gone")


@pytest.mark.parametrize(
    "inside",
    [
        pytest.param(NO_CAPABILITIES, id="no capabilities", marks=needs_root),
        pytest.param(("unshare", "-r"), id="user namespace", marks=needs_namespaces),
        pytest.param(("unshare", "-r", "-m", "-p", "-f", "--mount-proc"), id="container", marks=needs_namespaces),
    ],
)
@pytest.mark.needs("xdpyinfo")
def test_programs_with_fewer_rights_can_connect(inside: tuple[str, ...], session: Session) -> None:
    output = run("-c", CLIENT, command="sh", env=session.environ)
    assert output.stdout == "connected\n"
    program, *words = inside
    output = run(*words, "sh", "-c", CLIENT, command=program, env=session.environ)
    assert (output.returncode, output.stdout) == (0, "connected\n"), output.stderr


@needs_namespaces
@pytest.mark.needs("xdpyinfo")
def test_containers_that_bind_tmp_can_connect(session: Session, tmp_path: Path) -> None:
    """As Apptainer and bubblewrap do it: a root of its own, with a few folders of the machine's."""
    binds = "/usr /etc /tmp /dev /lib /lib64 /bin"
    setup = f"""
        mount -t tmpfs none {tmp_path}; cd {tmp_path}; mkdir proc
        for folder in $(ls -d {binds} 2>/dev/null); do mkdir -p ./$folder; mount --rbind $folder ./$folder; done
        mount --rbind /proc proc"""
    words = ("-r", "-m", "sh", "-ec", f'{setup}\nexec chroot . sh -c "$0"', CLIENT)
    output = run(*words, command="unshare", env={**session.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    assert (output.returncode, output.stdout) == (0, "connected\n"), output.stderr


@needs_xauth
@pytest.mark.needs("xdpyinfo")
def test_xauth_can_read_and_change_the_file(tmp_path: Path) -> None:
    """It locks the file, and writes a new one in its place."""
    with holding("--gl", "none") as session:
        before = run("list", command="xauth", env=session.environ)
        assert (before.returncode, before.stderr) == (0, "")
        assert len(before.stdout.splitlines()) == 2
        for words in ("-i", "extract", tmp_path / "copy", session.display), ("merge", tmp_path / "copy"):
            output = run(*words, command="xauth", env=session.environ)
            assert (output.returncode, output.stderr) == (0, "")
        run("add", ":7", ".", "00" * 16, command="xauth", env=session.environ, check=True)
        assert set(before.stdout.splitlines()) < set(
            run("list", command="xauth", env=session.environ).stdout.splitlines()
        )
        assert run("-c", CLIENT, command="sh", env=session.environ).stdout == "connected\n"
        file = Path(session.authority)
        (file.parent / f"{file.name}-l").touch()  # it was killed
    wait_until(lambda: not list(file.parent.glob(f"{file.name}*")), "nothing is left")


def cookie_file(spoil: str, **environ: str) -> str:
    """Where XAUTHORITY is, as seen by a program that can connect, where *spoil* has been done to an empty /tmp."""
    output = in_namespaces(
        *(ANAHEADLESS, "exec", "--gl", "none", "sh", "-c", f"{CLIENT} && echo $XAUTHORITY && ls -l $XAUTHORITY"),
        setup="mount -t tmpfs none /tmp; mount -t tmpfs none /run; mkdir -m 700 /run/private",
        last=spoil,
        env={**WITHOUT_RUNTIME_FOLDER, **environ},
    )
    connected, path, *_ = output.stdout.splitlines() or [output.stderr, ""]
    assert (output.returncode, output.stderr, connected) == (0, "", "connected")
    return path


FULL_TMP = "mount -o remount,size=4k none /tmp; head -c 4096 /dev/zero >/tmp/fill"
READ_ONLY_TMP = "mkdir /tmp/.X11-unix; mount -t tmpfs none /tmp/.X11-unix; mount -o remount,ro,bind none /tmp"


@needs_namespaces
@pytest.mark.parametrize("spoil", [READ_ONLY_TMP, FULL_TMP, "chmod 777 /tmp"])
@pytest.mark.needs("xdpyinfo")
@pytest.mark.server("xvfb", "xvnc", "xorg")
def test_other_folders_are_used_where_tmp_will_not_do(spoil: str) -> None:
    """Read-only; full; or one in which anybody may rename what is ours."""
    if spoil in (FULL_TMP, READ_ONLY_TMP) and not os.access("/var/lib/xkb", os.W_OK):
        pytest.skip("an X server can't have its keymap made")
    assert cookie_file(spoil, XDG_RUNTIME_DIR="/run/private").startswith("/run/private/Xauthority-")
    assert cookie_file(spoil).startswith("/proc/")


SQUATTED = {
    "link": "ln -s /root /tmp/anaheadless-$(id -u)",
    "link to our own": "mkdir -m 700 /tmp/other; ln -s other /tmp/anaheadless-$(id -u)",
    "open": "mkdir /tmp/anaheadless-$(id -u); chmod 777 /tmp/anaheadless-$(id -u)",
    "file": "touch /tmp/anaheadless-$(id -u)",
    "dead link": "ln -s gone /tmp/anaheadless-$(id -u)",
    "somebody else's": "mkdir -m 700 /tmp/anaheadless-0; chown 54321 /tmp/anaheadless-0",
}


@needs_namespaces
@pytest.mark.parametrize("what", SQUATTED)
@pytest.mark.needs("xdpyinfo")
def test_nobody_can_stop_a_run_by_taking_the_folders_name(what: str) -> None:
    """Another folder is made, and the next run finds it."""
    if what == "somebody else's" and os.geteuid() != 0:
        pytest.skip("needs another user")
    show = f"{ANAHEADLESS} exec --gl none sh -c '{CLIENT}; dirname $XAUTHORITY; echo $XDG_RUNTIME_DIR'"
    command = ("sh", "-c", f"{show}; {show}; ls -d /tmp/anaheadless-$(id -u)*")
    setup = f"mount -t tmpfs -o mode=1777 none /tmp; {SQUATTED[what]}"
    output = in_namespaces(*command, setup=setup, env=WITHOUT_RUNTIME_FOLDER)
    assert (output.returncode, output.stderr) == (0, "")
    connected, folder, runtime, *again = output.stdout.splitlines()
    assert connected == "connected"
    assert folder.startswith("/tmp/anaheadless-0-")  # there, everybody is root
    assert runtime == folder
    assert again[:3] == [connected, folder, folder]
    assert len(again[3:]) == 2


def aged(*paths: Path) -> None:
    for path in paths:  # what is younger than a second may be about to be used
        os.utime(path, (1, 1), follow_symlinks=False)


@pytest.mark.parametrize("way", ["clean", "start"])
@pytest.mark.parametrize("killed", ["keeper", "all"])
def test_the_next_run_removes_what_a_sigkill_leaves(killed: str, way: str, private_tmp: PrivateTmp) -> None:
    with private_tmp.holding("--gl", "none", env=WITHOUT_RUNTIME_FOLDER) as session:
        for process in (session.keeper, *((session.target, session.server) if killed == "all" else ())):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        wait_until(lambda: not is_running(session.server), "the server ends with its keeper")
        session.process.kill()
        session.process.wait(PATIENCE)
        file = private_tmp.folder / Path(session.authority).relative_to("/tmp")
        dead = private_tmp.sockets / f"X{session.number}"
        assert file.exists()
        aged(file, dead)
        words = ("clean",) if way == "clean" else ("exec", "--gl", "none", "true")
        wait_until(lambda: private_tmp.run(*words).returncode == 0 and not file.exists(), "the cookie is gone")
        assert not dead.exists()


@pytest.mark.needs("xdpyinfo")
def test_cookies_of_the_living_stay(session: Session) -> None:
    aged(Path(session.authority), session.socket)
    assert run("clean").returncode == 0
    assert Path(session.authority).exists()
    assert run("-c", CLIENT, command="sh", env=session.environ).stdout == "connected\n"


def test_cookies_of_sessions_that_are_only_starting_stay(tmp_path: Path) -> None:
    """A server that makes its own sockets may take long until it does, and nobody has the number by then."""
    number = next(n for n in NUMBERS if not os.path.lexists(socket_path(n)))
    tmp_path.chmod(0o700)
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    cookie = private_files.create_cookie_file(number, b"entries", [str(tmp_path)])
    assert cookie is not None
    aged(Path(cookie.path))
    assert cookie.path not in run("clean", env=environ).stdout
    assert os.path.exists(cookie.path)
    os.close(cookie.descriptor)
    assert f"removed {cookie.path}\n" in run("clean", env=environ).stdout


@needs_namespaces
@needs_root
def test_containers_remove_no_cookies_of_the_living(session: Session) -> None:
    """One that shares the folder, but neither PIDs nor the display's sockets."""
    aged(Path(session.authority))
    words = ("-n", *namespaces("mount -t tmpfs -o mode=1777 none /tmp/.X11-unix")[1:])
    output = run(*words, ANAHEADLESS, "clean", command="unshare")
    assert (output.returncode, output.stderr) == (0, "")
    assert Path(session.authority).exists()


@pytest.mark.parametrize("way", ["clean", "start"])
def test_a_keeper_that_its_program_has_stopped_ends_all_the_same(way: str) -> None:
    words = ("clean",) if way == "clean" else ("exec", "--gl", "none", "true")
    with holding("--gl", "none") as session:
        session.keeper.suspend()
        assert run(*words).returncode == 0
        assert session.keeper.status() == "stopped"  # somebody may want it so
        session.process.kill()
        session.process.wait(PATIENCE)
        assert session.keeper.status() == "stopped"
        assert run(*words).returncode == 0
        session.wait_until_nothing_is_left()


def test_folders_of_this_user_are_used(tmp_path: Path) -> None:
    assert private_files.folders({})[1:] == ()
    tmp_path.chmod(0o700)
    assert private_files.folders({"XDG_RUNTIME_DIR": str(tmp_path)})[1:] == (str(tmp_path),)
    assert private_files.folders({"XDG_RUNTIME_DIR": private_files.folders({})[0]})[1:] == ()


def test_a_folder_that_depends_on_the_working_directory_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper would not find the cookie in it, nor would a target that goes elsewhere."""
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    assert private_files.folders({"XDG_RUNTIME_DIR": "."})[1:] == ()


# --- a browser: its helpers have fewer rights than it has

PAGE = "data:text/html,<body style='background:%23ff8000'></body>"


def page_is_seen(display: str, picture: Path, settings: dict[str, Any], *command: str) -> bool:
    program, *words = command
    if run(*words, "screenshot", display, str(picture), command=program, **settings).returncode:
        return False
    image = QImage(str(picture))
    return image.pixelColor(image.width() // 2, image.height() // 2).name() == "#ff8000"


def browse(folder: Path, settings: dict[str, Any], *command: str) -> None:
    """Have Chromium show a page on a display, until that is seen there."""
    browser = ("chromium", "--no-sandbox", f"--user-data-dir={folder}/profile", "--no-first-run", "--kiosk")
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu")
    words = [*command, "exec", "--gl", "none", "sh", "-c", 'echo $DISPLAY; exec "$@"', "sh", *browser, *quiet, PAGE]
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **settings
    ) as process:
        try:
            assert process.stdout
            display = process.stdout.readline().strip()
            wait_until(
                lambda: page_is_seen(display, folder / "page.png", settings, *command), "the page is seen", 2 * PATIENCE
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)


@needs_chromium
@needs_root
def test_a_browser_draws_its_page_as_root(tmp_path: Path) -> None:
    browse(tmp_path, {"env": {**os.environ, "HOME": str(tmp_path)}}, ANAHEADLESS)


@needs_chromium
def test_a_browser_draws_its_page_as_a_user(users: list[User]) -> None:
    user = users[0]
    folder = Path(user.hold).parent / "browser"
    folder.mkdir()
    os.chown(folder, user.uid, user.uid)
    settings = {**user.settings, "env": {**user.settings["env"], "HOME": str(folder)}}
    browse(folder, settings, *user.anaheadless)
    wait_until(lambda: not user.left(), "nothing is left")
