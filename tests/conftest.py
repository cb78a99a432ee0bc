"""Nothing may be left behind: by no test, whatever it is about."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import psutil
import pytest
from hypothesis import HealthCheck, settings

import anaheadless.session.keeper
from anaheadless.session.discovery import parse_command
from tests.support.helpers import PROGRAMS, User, chosen_server, wait_until
from tests.support.maps import Maps
from tests.support.namespaces import CAN_UNSHARE, PrivateTmp, private

settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# nohup, and a shell's &, leave them ignored, and so would all that a test starts.
for number in signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM:
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make coverage` counts: of each test of a wing, the first case.

    With a counter, a Python takes four times the time to start, and all the tests take a third longer. They would take
    twice as long if all cases were counted; the other cases run nearly the same code.
    """
    seen = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        wing = item.path.relative_to(Path(__file__).parent).parts[0]
        is_first = test not in seen and wing not in ("bench", "docs", "end_to_end", "integrations")
        if is_first and item.get_closest_marker("uncounted") is None:
            item.add_marker("counted")
        seen.add(test)


def pytest_runtest_setup(item: pytest.Item) -> None:
    kind = os.environ.get("ANAHEADLESS_SERVER", "xvfb")
    for mark in item.iter_markers("server"):
        if kind not in mark.args:
            pytest.skip(f"not for {kind}, but for {', '.join(mark.args)}")
    for mark in item.iter_markers("needs"):
        for program in mark.args:
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed")


def orphaned_keepers() -> list[str]:
    """Keepers of this checkout whose target has ended."""
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        call = parse_command(command) if anaheadless.session.keeper.__file__ in command else None
        if call is not None and not anaheadless.system.processes.is_alive(*call[1:]):
            found.append(f"{call[0]} of {call[1]}: {process}")
    return found


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the launches of a whole test run remember; nothing of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        # Scripts would run in the environment that is active where the tests were started.
        patch.delenv("VIRTUAL_ENV", raising=False)
        yield folder / "anaheadless"


@pytest.fixture(autouse=True)
def _cache_as_asked(cache: Path) -> None:
    """``CACHE=cold`` or ``CACHE=corrupted`` in the environment: nothing remembered is of any use to a test."""
    wanted = os.environ.get("CACHE", "warm")
    for file in cache.glob("*") if wanted != "warm" else ():
        file.unlink() if wanted == "cold" else file.write_bytes(b"0\n" + file.read_bytes()[5:])


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    wait_until(lambda: not orphaned_keepers(), "no keeper outlives its target")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "script.py"


@pytest.fixture
def private_tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateTmp]:
    if not CAN_UNSHARE:
        pytest.skip("this machine forbids namespaces")
    with private(tmp_path_factory.getbasetemp()) as found:
        yield found


@pytest.fixture
def users() -> Iterator[list[User]]:
    """Two, whom no other test has. The package and what it imports is copied: pytest's own folders are private."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    folder = Path(tempfile.mkdtemp(prefix="anaheadless-test-"))
    first = 20_000 + 2 * os.getpid() % 20_000  # no user's, and known in containers, too
    uids = (first, first + 1)
    try:
        for package in anaheadless, click, psutil:
            source = Path(str(package.__file__)).parent
            shutil.copytree(source, folder / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        hold = shutil.copy(PROGRAMS / "hold.py", folder)
        folder.chmod(0o755)
        environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), **chosen_server()}
        each: list[dict[str, Any]] = [
            {"user": uid, "group": uid, "extra_groups": [], "cwd": "/", "env": environ} for uid in uids
        ]
        for python in sys.executable, "/usr/bin/python3":
            with contextlib.suppress(OSError):
                if subprocess.run([python, "-c", "import psutil"], **each[0]).returncode == 0:
                    break
        else:
            pytest.skip("no interpreter that an ordinary user can run")
        yield [User(uid, python, settings, str(hold)) for uid, settings in zip(uids, each)]
    finally:
        shutil.rmtree(folder)
        for uid in uids:
            shutil.rmtree(f"/tmp/anaheadless-{uid}", ignore_errors=True)


@pytest.fixture
def maps(tmp_path: Path) -> Iterator[Maps]:
    found = Maps(tmp_path)
    yield found
    try:
        wait_until(lambda: not found.left(), "nothing is left of the maps")
    finally:
        for process in found.left():
            process.kill()
