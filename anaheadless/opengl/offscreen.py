"""Tests of EGL and Vulkan, which draw without an X server: what there is, and what has drawn."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence

from anaheadless.opengl import offscreencheck
from anaheadless.opengl.candidates import Candidate, ProbeResult
from anaheadless.opengl.probe import CommandResult, parse_result, run_command
from anaheadless.options import INTERFACES
from anaheadless.system.light_stdlib import Record
from anaheadless.system.programs import cannot_execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DRAWN = ("egl", "vulkan")
_NOT_TRIED = ProbeResult("not tried", "the time for all tests was used up")


class Offscreen(Record):
    """EGL or Vulkan in the target's interpreter and environment.

    :param devices: those that it lists, in its order, as offscreencheck.py describes them.
    :param results: each way to draw, and what came of it; one without a name stands for the interface itself.
    """

    interface: str
    devices: tuple[Mapping[str, Any], ...] = ()
    results: tuple[tuple[str, ProbeResult], ...] = ()

    def drawn(self, hardware: bool | None = None) -> list[tuple[str, ProbeResult]]:
        """Return the ways that have drawn; only those on hardware, or only those in software, if that is asked for."""
        wanted = {None: "drawn", True: "hardware", False: "software"}[hardware]
        return [(way, result) for way, result in self.results if getattr(result, wanted)]

    def lines(self) -> list[str]:
        """Write the results, a line each."""
        title = INTERFACES[self.interface]
        return [f"{f'{title} {way}' if way else title}: {result}" for way, result in self.results]


def examine(
    interface: str,
    python: str,
    environ: Mapping[str, str],
    timeout: float,
    *,
    ways: Sequence[str] = (),
    first: bool = False,
) -> Offscreen:
    """Let *interface* draw in each way that there is; a library that crashes or hangs costs only its own way.

    :param timeout: seconds that a way may take; all of them together get three times as long.
    :param ways: only these, as offscreencheck.py names them.
    :param first: whether to stop after the first way that draws.
    :raises LaunchError: the interpreter can't be executed.
    """
    deadline = time.monotonic() + 3 * timeout
    found = Offscreen(interface)
    left: Sequence[str] | None = ways or None  # None: all that there are
    while left is None or left:
        limit = min(timeout, deadline - time.monotonic())
        if limit <= 0:
            return found.replace(results=(*found.results, *((way, _NOT_TRIED) for way in left or [""])))
        command = [python, "-s", "-S", offscreencheck.__file__, str(int(limit) + 1), interface]
        command += ["first" if first else "all", *(left or ())]
        start = time.monotonic()
        try:
            ended = run_command(command, environ, limit)
        except OSError as error:
            raise cannot_execute(python, error) from error
        part, left = parse(interface, ended, time.monotonic() - start)
        found = found.replace(devices=part.devices, results=found.results + part.results)
        if first and found.drawn():
            break
    return found


def parse(interface: str, ended: CommandResult, seconds: float) -> tuple[Offscreen, list[str]]:
    """Return what offscreencheck.py has found, and the ways that it has not come to; a pure function."""
    head, *blocks = re.split(r"^way: (.*)\n", ended.output, flags=re.MULTILINE)
    said = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    # Without a way, it has ended while it was looking for them.
    tried = list(zip(blocks[::2], blocks[1::2])) or [("", head)]
    results = []
    for way, text in tried:
        result = ProbeResult("hung", "no picture in time", seconds=seconds)
        if "result: " in text or ended.status is not None:
            share = seconds / len(tried)
            result = parse_result(Candidate(interface, way), text, ended.errors, ended.status or 0, share)
        results.append((way, result))
    done = [way for way, _ in tried]
    left = [way for way in said.get("ways", "").split("|") if way and way not in done] if blocks else []
    return Offscreen(interface, tuple(json.loads(said.get("devices", "[]"))), tuple(results)), left
