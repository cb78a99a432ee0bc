"""Long maps, and maps that are killed at any moment; run by ``make soak``."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from contextlib import suppress

import psutil
import pytest

from tests.support.helpers import wait_until
from tests.support.maps import Maps

pytestmark = pytest.mark.soak

ITEM = """
import subprocess, sys, time
subprocess.Popen(["setsid", "sleep", "1000"])
time.sleep(0.05 * int(sys.argv[1]) % 0.3)
"""


@pytest.mark.timeout(1200)
def test_ten_thousand_items_need_no_more_memory_than_a_thousand(maps: Maps) -> None:
    journal = maps.folder / "anaheadless-map.jsonl"
    with maps.running("-q", "-j2", "--command", "true", "{}", ":::", *map(str, range(10_000))) as process:
        mapper = psutil.Process(process.pid)
        seen = {}
        for number in 1000, 9000:
            wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > number, timeout=600)  # noqa: B023
            seen[number] = mapper.memory_info().rss + sum(each.memory_info().rss for each in slots(mapper))
        assert process.wait(600) == 0
    assert seen[9000] - seen[1000] < 1 << 20


def slots(mapper: psutil.Process) -> list[psutil.Process]:
    """The children that run items: forks of the map, or interpreters that have imported for it."""
    return [each for each in mapper.children() if any("map" in word or "in_slot" in word for word in each.cmdline())]


@pytest.mark.parametrize("seed", range(25))
def test_a_map_that_is_killed_leaves_nothing_and_resumes(seed: int, maps: Maps) -> None:
    chance = random.Random(seed)
    options = chance.choice([(), ("--preload", "json"), ("--display", "own")])
    items = ("-q", "-j3", *options, maps.script(ITEM), ":::", *map(str, range(30)))
    with maps.running(*items, start_new_session=True) as process:
        try:
            process.wait(chance.uniform(0, 2))
        except subprocess.TimeoutExpired:
            kill(process, chance)
        process.communicate(timeout=60)
    wait_until(lambda: not maps.left(), "nothing is left")
    maps.run(*items)
    assert len(maps.results()) == 30


def kill(process: subprocess.Popen[str], chance: random.Random) -> None:
    victim = chance.choice(["map", "group", "slot", "item"])
    if victim == "map":
        process.kill()
    elif victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        with suppress(psutil.Error):  # it has just ended
            found = slots(psutil.Process(process.pid))
            if victim == "item":
                found = [item for slot in found for item in slot.children()]
            if found:
                chance.choice(found).kill()
