"""A GPU that is asked for is a GPU, software that is asked for is software, and the program is told what it got.

There may be no GPU here: the OpenGL that calls itself one is made by gcc (programs/renamed_gl.c), and really draws.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from anaheadless.options import HARDWARE, RENDERER
from tests.support.device_files import with_device_files
from tests.support.drivers import broken_gl, renamed_gl
from tests.support.helpers import ANAHEADLESS, assert_refused, holding, listed_sessions, run
from tests.support.namespaces import in_namespaces, needs_namespaces

TELL = f"import json, os; print(json.dumps([os.environ.get(n) for n in ({RENDERER!r}, {HARDWARE!r})]))"
GPU, SOFTWARE = ["GeForce of a dream", "1"], ["llvmpipe (of a dream)", "0"]


@pytest.fixture
def environ() -> dict[str, str]:
    """Variables of which none chooses an OpenGL."""
    chosen = ("LD_", "LIBGL_", "GALLIUM_", "MESA_", "__GLX_", "VGL_", "ANAHEADLESS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(chosen)}


def told(*options: str, env: dict[str, str]) -> Any:
    output = run("run", "--no-virtualgl", *options, "-c", TELL, env=env)
    assert (output.returncode, output.stderr) == (0, ""), output
    return json.loads(output.stdout)


def test_a_gpu_that_is_asked_for_draws(environ: dict[str, str], tmp_path: Path) -> None:
    environ.update(renamed_gl(tmp_path))
    for backend in "hardware", "auto", "hardware":  # the last one is cached
        assert told("--gl", backend, env=environ) == GPU


def test_software_is_no_gpu(environ: dict[str, str], tmp_path: Path) -> None:
    """Nothing is started; there is a line for each candidate, and what to do."""
    started = tmp_path / "started"
    environ["LIBGL_ALWAYS_SOFTWARE"] = "1"
    words = ("run", "--no-virtualgl", "--gl", "hardware", "-c", f"open({str(started)!r}, 'w')")
    output = run(*words, env=environ)
    assert_refused(output, 125, "Only software has drawn.", "--gl auto")
    message, *candidates, _ = output.stderr.splitlines()
    assert message == "anaheadless: no OpenGL on hardware"
    assert candidates
    assert any(line.startswith("  | native: llvmpipe ") and line.endswith(", software") for line in candidates)
    assert not any("mesa" in line.partition(":")[0] for line in candidates)
    assert not started.exists()
    told("--gl", "auto", env=environ)  # which is cached now, and still no GPU
    assert_refused(run(*words, env=environ), 125, "no OpenGL on hardware")


def test_a_gpu_that_crashes_is_no_gpu(environ: dict[str, str], tmp_path: Path) -> None:
    environ["LD_LIBRARY_PATH"] = str(broken_gl(tmp_path, "-DIN_CREATE=abort()").parent)
    output = run("run", "--no-virtualgl", "--gl", "hardware", "-c", "pass", env=environ)
    assert_refused(output, 125, "no OpenGL: nothing could be drawn", "native: crashed: Aborted")


def test_software_that_is_asked_for_draws_instead_of_a_gpu(environ: dict[str, str], tmp_path: Path) -> None:
    environ.update(renamed_gl(tmp_path, "-DOBEYS"))
    assert told("--gl", "auto", env=environ) == GPU
    assert told("--gl", "software", env=environ) == SOFTWARE


def test_a_gpu_that_draws_unasked_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    """It does not obey LIBGL_ALWAYS_SOFTWARE, and is found out by its name."""
    environ.update(renamed_gl(tmp_path))
    output = run("run", "--no-virtualgl", "--gl", "software", "-c", "print('started')", env=environ)
    assert_refused(output, 125, "no OpenGL in software", "Only a GPU has drawn.")
    assert "  | native (in software): GeForce of a dream, hardware" in output.stderr


def test_a_session_in_a_session_tells_of_itself(environ: dict[str, str], tmp_path: Path) -> None:
    """What is told of the outer one is no option, and is not handed on where it does not hold."""
    environ.update(renamed_gl(tmp_path, "-DOBEYS"))
    inner = f'{ANAHEADLESS} run --no-virtualgl --gl software -c "$0"; {ANAHEADLESS} run --gl none -c "$0"'
    output = run("exec", "--no-virtualgl", "sh", "-c", inner, TELL, env=environ)
    assert (output.returncode, output.stderr) == (0, "")
    assert [json.loads(line) for line in output.stdout.splitlines()] == [SOFTWARE, [None, None]]


@pytest.mark.parametrize(("obeys", "word", "hardware"), [([], "hardware", True), (["-DOBEYS"], "software", False)])
def test_list_and_doctor_tell_of_it(
    obeys: list[str], word: str, hardware: bool, environ: dict[str, str], tmp_path: Path
) -> None:
    environ.update(renamed_gl(tmp_path, *obeys))
    options = ("--no-virtualgl", "--gl", word)
    with holding(*options, env=environ) as session:
        row = listed_sessions()[session.display]
        (line,) = (line for line in run("list").stdout.splitlines() if line.startswith(session.display))
    renderer = (GPU if hardware else SOFTWARE)[0]
    assert (row["hardware"], row["renderer"]) == (hardware, renderer)
    assert line.split()[6] == word
    choice = json.loads(run("doctor", *options, "--json", env=environ).stdout)["choice"]
    assert (choice["hardware"], choice["renderer"]) == (hardware, renderer)
    assert f", {word}: the first that draws" in run("doctor", *options, env=environ).stdout
    assert f": {renderer}, {word} (" in run("run", "-v", "--fresh", *options, "-c", "pass", env=environ).stderr


@needs_namespaces
def test_a_container_without_graphics_libraries_is_told_so(environ: dict[str, str], tmp_path: Path) -> None:
    """It has been given NVIDIA's GPU, of which there is nothing but the device file."""
    setup = with_device_files(tmp_path, "nvidia0")
    environ["NVIDIA_DRIVER_CAPABILITIES"], environ["NVIDIA_VISIBLE_DEVICES"] = "compute,utility", "all"
    words = (ANAHEADLESS, "run", "--no-virtualgl", "--gl", "hardware", "-c", "pass")
    output = in_namespaces(*words, setup=setup, env=environ)
    assert_refused(output, 125, "no OpenGL on hardware", "NVIDIA_DRIVER_CAPABILITIES=all (it is compute,utility)")
    report = json.loads(in_namespaces(ANAHEADLESS, "doctor", "--json", setup=setup, env=environ).stdout)
    (cause,) = (cause for cause in report["causes"] if "CAPABILITIES" in cause["text"] and "GLX" in cause["text"])
    assert "glx" in cause["interfaces"]


def test_doctor_fails_where_run_would(environ: dict[str, str]) -> None:
    environ["LIBGL_ALWAYS_SOFTWARE"] = "1"
    output = run("doctor", "--no-virtualgl", "--gl", "hardware", "--json", env=environ)
    report = json.loads(output.stdout)
    assert (output.returncode, report["starts"], report["choice"]) == (1, False, None)
    assert any("Only software has drawn." in line for line in report["advice"])
