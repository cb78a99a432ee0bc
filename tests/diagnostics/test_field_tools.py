"""What glxinfo and the like say is shown beside our tests, and what it means where they disagree."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from anaheadless.diagnostics import doctor, field_tools
from anaheadless.diagnostics.field_tools import Answer
from anaheadless.opengl.probe import CommandResult
from tests.support.helpers import run, write_program

OUTPUTS = {
    "xdpyinfo": ("number of extensions:    2\n    GLX\n    RANDR\n", "", True, ()),
    "xdpyinfo without": ("number of extensions:    1\n    XINERAMA-GLX\n", "", False, ()),
    "glxinfo -B": ("direct rendering: Yes\nOpenGL renderer string: llvmpipe (15)\n", "", None, ("llvmpipe (15)",)),
    "eglinfo -B": (
        "GBM platform:\neglinfo: eglInitialize failed\n\nDevice #0:\nOpenGL core profile renderer: AMD Radeon\n"
        "OpenGL compatibility profile renderer: AMD Radeon\nOpenGL ES profile renderer: llvmpipe\n",
        "",
        None,
        ("AMD Radeon", "llvmpipe"),
    ),
    "eglinfo -B of Debian 12": ("EGL driver name: swrast\nEGL driver name: swrast\n", "", None, ("swrast",)),
    "vulkaninfo --summary": (
        "GPU0:\n\tdeviceName         = NVIDIA A100\nGPU1:\n\tdeviceName         = llvmpipe\n",
        "",
        None,
        ("NVIDIA A100", "llvmpipe"),
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_is_understood(name: str) -> None:
    output, errors, glx, renderers = OUTPUTS[name]
    command = name.partition(" of ")[0].partition(" without")[0]
    found = field_tools.parse(command, CommandResult(0, output, errors))
    assert (found.glx, found.renderers) == (glx, renderers)
    if command in ("xdpyinfo", "glxinfo -B"):
        under_vglrun = field_tools.parse(f"vglrun {command}", CommandResult(0, output, errors))
        assert (under_vglrun.glx, under_vglrun.renderers) == (glx, renderers)


def test_what_fails_is_told_in_its_own_words() -> None:
    found = field_tools.parse("glxinfo -B", CommandResult(1, "name of display: :9\n", "\nError: no visual\n"))
    assert (found.renderers, found.message) == ((), "Error: no visual")
    assert (
        field_tools.parse("glxinfo -B", CommandResult(0, "name of display: :9\n", "")).message == "name of display: :9"
    )


def answer(command: str, *renderers: str, glx: bool | None = None, status: int | None = 0) -> Answer:
    return Answer(command, status, glx, renderers, "", 0.1)


def report(glx: str = "", egl: str = "", vulkan: str = "", *, tried: bool = True) -> dict[str, Any]:
    tests = [("egl", egl), ("vulkan", vulkan)]
    return {
        "candidates": [{}] if tried else [],
        "choice": {"renderer": glx, "hardware": "llvmpipe" not in glx} if glx else None,
        "offscreen": [
            {"interface": name, "result": "drawn", "renderer": each, "hardware": "llvmpipe" not in each}
            for name, each in tests
            if each
        ],
    }


@pytest.mark.parametrize(
    ("said", "ours", "note"),
    [
        (answer("xdpyinfo", glx=True), report("llvmpipe"), ""),
        (answer("xdpyinfo", glx=True), report(), "lists GLX, which only means"),
        (answer("xdpyinfo", glx=True), report(tried=False), ""),
        (answer("xdpyinfo", glx=False), report(), ""),
        (answer("vglrun xdpyinfo", glx=True), report("llvmpipe"), "proves nothing"),
        (answer("glxinfo -B", "llvmpipe"), report("llvmpipe"), ""),
        (answer("glxinfo -B", "llvmpipe"), report("Radeon"), "has drawn with Radeon"),
        (answer("glxinfo -B"), report("llvmpipe"), "has drawn with llvmpipe"),
        (answer("glxinfo -B"), report(), ""),
        (answer("vglrun glxinfo -B", "Radeon"), report("llvmpipe"), "--gl virtualgl"),
        (answer("vglrun glxinfo -B", "Radeon"), report("Radeon"), ""),
        (answer("vglrun glxinfo -B", "llvmpipe"), report("llvmpipe"), ""),
        (answer("eglinfo -B", "Radeon", "llvmpipe"), report("llvmpipe", egl="Radeon"), ""),
        (answer("eglinfo -B", "Radeon"), report("llvmpipe", egl="llvmpipe"), "only in software"),
        (answer("eglinfo -B", "llvmpipe"), report("llvmpipe", egl="Radeon"), "on a GPU"),
        (answer("vulkaninfo --summary", "llvmpipe"), report(vulkan="llvmpipe"), ""),
        (answer("vulkaninfo --summary", "A100"), report(), "has drawn with nothing"),
        (answer("glxinfo -B", status=None), report("llvmpipe"), "hangs"),
    ],
)
def test_where_they_disagree_it_is_said_what_that_means(said: Answer, ours: dict[str, Any], note: str) -> None:
    notes = list(field_tools.disagreements(said, ours))
    assert len(notes) == (note != "")
    assert note in "".join(notes)


def test_a_tool_that_hangs_is_ended(tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "glxinfo", "sleep 1000")
    write_program(tmp_path / "bin" / "vulkaninfo", "echo '  deviceName = llvmpipe'")
    environ = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    hung, named = field_tools.ask(environ, None, 0.3, ["glxinfo -B", "no-such-tool -B", "vulkaninfo --summary"])
    assert (hung.status, hung.renderers) == (None, ())
    assert (named.status, named.renderers) == (0, ("llvmpipe",))


@pytest.mark.needs("xdpyinfo")
def test_doctor_shows_them_in_its_session(tmp_path: Path) -> None:
    """Whose display they are given."""
    write_program(tmp_path / "bin" / "glxinfo", 'echo "OpenGL renderer string: GPU of $DISPLAY"')
    environ = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    told = json.loads(run("doctor", "--no-virtualgl", "--json", env=environ).stdout)
    found = {each["command"]: each for each in told["field_tools"]}
    assert found["xdpyinfo"]["glx"] is True
    (renderer,) = found["glxinfo -B"]["renderers"]
    assert renderer.startswith("GPU of :")
    assert len(found["glxinfo -B"]["notes"]) == 1
    lines = [each.text for each in doctor.findings(told) if each.section == "other tools"]
    assert any(line.startswith("xdpyinfo: GLX is listed") for line in lines)
    assert any(line.startswith("| The test has drawn with") for line in lines)


@pytest.mark.parametrize("how", [("run", "-vv", "-c", "print(1)"), ("exec", "--dpi", "96", "-vv", "echo", "1")])
def test_a_very_verbose_run_shows_them_before_the_program_starts(how: tuple[str, ...], tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "glxinfo", 'echo "OpenGL renderer string: GPU of $DISPLAY"')
    environ = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    output = run(*how, env=environ)
    assert output.stdout == "1\n"
    number = re.search(r"^anaheadless: display (:\d+),", output.stderr, re.MULTILINE)
    assert number
    assert f"\nanaheadless: glxinfo -B: GPU of {number[1]}, " in output.stderr
