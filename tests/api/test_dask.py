"""Displays for Dask's workers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.clusters import dask_cluster
from tests.support.helpers import keepers_of, wait_until

pytest.importorskip("distributed", reason="needs anaheadless[cluster]")
pytestmark = [pytest.mark.uncounted, pytest.mark.filterwarnings("ignore")]


def look() -> tuple[int, str | None, int]:
    """In a worker: its PID, its display, and how a program that asks for that ends."""
    return os.getpid(), os.environ.get("DISPLAY"), subprocess.run(["xdpyinfo"], stdout=subprocess.DEVNULL).returncode


@pytest.mark.soak
@pytest.mark.needs("xdpyinfo")
def test_each_worker_has_a_display_as_long_as_it_lives(tmp_path: Path) -> None:
    from distributed import Client

    from anaheadless.dask import Displays

    with dask_cluster(tmp_path) as cluster, Client(cluster.address) as client:
        client.register_plugin(Displays(gl="none", screen="640x480x24"))
        found = list(client.run(look).values())
        assert len({display for _, display, _ in found}) == 2
        assert [status for _, _, status in found] == [0, 0]
        victim = found[0][0]
        keepers = keepers_of(victim)
        assert len(keepers) == 1
        psutil.Process(victim).kill()
        wait_until(lambda: not keepers[0].is_running(), "the display of a worker that was killed has ended")

        def has_another() -> bool:
            pids = {pid for pid, _, status in client.run(look, on_error="ignore").values() if status == 0}
            return len(pids) == 2 and victim not in pids

        wait_until(has_another, "the worker that takes its place has a display")
        client.unregister_worker_plugin("anaheadless-displays")
        assert {(display, status != 0) for _, display, status in client.run(look).values()} == {(None, True)}
        cluster.wait_until_nothing_is_left()


def test_options_are_checked_where_they_are_said() -> None:
    from anaheadless.dask import Displays

    with pytest.raises(TypeError, match="Displays\\(\\) has no option 'screem'"):
        Displays(screem="640x480")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="is not WIDTHxHEIGHT"):
        Displays(screen="big")
