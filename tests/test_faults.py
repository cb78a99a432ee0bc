"""Signals at random moments, to any process of a session: its caller gets a status, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from helpers import ANAHEADLESS, PATIENCE, wait_until
from namespaces import PrivateTmp

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
VICTIMS = ("target", "front", "keeper", "server", "all")  # the target is the launcher, at first


def parts(home: Path, front: int | None = None) -> dict[str, psutil.Process]:
    """The processes of the session whose HOME is *home*: keeper and server have little else in their environment.

    :param front: the PID of a launcher that stays in front.
    """
    found = {}
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") != str(home) or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = process.cmdline()
        except psutil.Error:
            continue
        kind = "keeper" if any(word.endswith("keeper.py") for word in words) else "target"
        kind = "front" if process.pid == front else kind
        found["server" if words and words[0].endswith("Xvfb") else kind] = process
    return found


def send(victims: list[psutil.Process], number: int) -> None:
    for each in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(number)


def inject(seed: int, folder: Path, private_tmp: PrivateTmp) -> str:
    """Start a session, do to it what *seed* says, and look at what comes of that; return what was done."""
    chance = random.Random(seed)
    number, victim, moment = chance.choice(SIGNALS), chance.choice(VICTIMS), chance.uniform(0, 0.25)
    supervised = ("--supervise",) if victim == "front" or seed % 2 else ()
    home = folder / str(seed)
    home.mkdir()
    command = [
        *private_tmp.enter,
        ANAHEADLESS,
        "run",
        *supervised,
        "--gl",
        "none",
        "-c",
        "import time; time.sleep(0.1)",
    ]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, "HOME": str(home)}, **streams) as process:  # type: ignore[call-overload]
        time.sleep(moment)  # the moment is what is tried
        there = parts(home, process.pid if supervised else None)
        victims = [there[kind] for kind in there if victim in (kind, "all")]
        send(victims, number)
        if number == signal.SIGSTOP:
            time.sleep(chance.uniform(0, 0.1))
            send(victims, signal.SIGCONT)
        _, errors = process.communicate(timeout=PATIENCE)
        done = f"{number.name} to {victim} ({', '.join(there) or 'nobody'}) after {moment:.3f} s, seed {seed}"
        assert process.returncode in (0, 125, -number), (done, process.returncode, errors)
        if process.returncode == 0:
            # A target that was not made to wait for the server has its own status, and the keeper has the words.
            # (What is about to become the server looks like a keeper.)
            has_words = victim in ("server", "keeper", "all") and b"the X server ended" in errors
            assert errors == b"" or has_words, (done, errors)
    wait_until(lambda: not parts(home), f"no process is left: {done}")
    # Nobody was there to remove the socket: not the keeper, or it had not been started yet.
    if number == signal.SIGKILL and victim != "server":
        for name in private_tmp.left():  # one that is younger than a second may be about to be used
            os.utime(private_tmp.folder / name, (1, 1), follow_symlinks=False)
        assert private_tmp.run("clean").returncode == 0
    private_tmp.wait_until_nothing_is_left()
    return f"{number.name} to {victim if victims else 'nobody'}"


@pytest.mark.parametrize("seed", range(24))
def test_fault(seed: int, tmp_path: Path, private_tmp: PrivateTmp) -> None:
    inject(seed, tmp_path, private_tmp)


@pytest.mark.soak
def test_faults(tmp_path: Path, private_tmp: PrivateTmp, capsys: pytest.CaptureFixture[str]) -> None:
    seeds = range(1000, 1500)
    done = Counter(inject(seed, tmp_path, private_tmp) for seed in seeds)
    with capsys.disabled():
        print(
            f"\n{len(seeds)} faults, nothing left:", *(f"  {count:4} {what}" for what, count in done.items()), sep="\n"
        )
