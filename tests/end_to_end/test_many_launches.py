"""Many launches, at once and in a row."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.helpers import ANAHEADLESS, PROGRAMS, run


@pytest.mark.parametrize("launches", [60, pytest.param(200, marks=pytest.mark.soak)])
def test_programs_that_start_at_once_have_displays_of_their_own(launches: int) -> None:
    """Each paints the root window in a colour of its own, waits until all have, and reads it back."""
    painters = [
        subprocess.Popen(
            [ANAHEADLESS, "run", PROGRAMS / "paint_root.py", str(colour)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for colour in range(1, launches + 1)
    ]
    try:
        for painter in painters:
            assert painter.stdout is not None
            assert painter.stdout.readline() == "painted\n"
        displays = set()
        for colour, painter in enumerate(painters, 1):
            output, errors = painter.communicate("\n", timeout=60)
            display, seen = output.split()
            assert (painter.returncode, int(seen), errors) == (0, colour, "")
            displays.add(display)
        assert len(displays) == launches
    finally:
        for painter in painters:
            painter.kill()
            painter.communicate()


@pytest.mark.parametrize(
    "launches",
    [
        pytest.param(30, marks=pytest.mark.server("xwayland", "xvnc", "xorg")),
        pytest.param(300, marks=pytest.mark.any_server),
        pytest.param(3000, marks=pytest.mark.soak),
    ],
)
def test_many_launches_in_a_row_are_quiet(launches: int) -> None:
    for _ in range(launches):
        output = run("run", "--gl", "none", "-c", "print('drawn')")
        assert (output.returncode, output.stdout, output.stderr) == (0, "drawn\n", "")
