"""EGL and Vulkan draw, or it is said why not; and a program that requires one of them starts only where it draws.

Mesa draws here, in software. What fails, or calls itself a GPU, is made by gcc (programs/changed_egl.c).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

import anaheadless
from anaheadless import options
from anaheadless.errors import LaunchError
from anaheadless.launch import requirements
from anaheadless.opengl import offscreen
from anaheadless.opengl.candidates import ProbeResult
from anaheadless.opengl.offscreen import Offscreen
from anaheadless.opengl.probe import CommandResult
from anaheadless.options import INTERFACES
from tests.support.drivers import HANG, changed_egl, renamed_gl
from tests.support.helpers import assert_refused, holding, run

GPU = '-DRENDERER="GeForce of a dream"'
NO_DRIVERS = {
    "egl": {"__EGL_VENDOR_LIBRARY_FILENAMES": "/nonexistent"},
    "vulkan": {"VK_ICD_FILENAMES": "/nonexistent", "VK_DRIVER_FILES": "/nonexistent"},
}
INSTALLED = pytest.mark.parametrize("interface", offscreen.DRAWN)


@pytest.fixture
def environ() -> dict[str, str]:
    """Variables of which none chooses a driver."""
    chosen = ("LD_", "LIBGL_", "GALLIUM_", "MESA_", "__GLX_", "__EGL_", "EGL_", "VK_", "VGL_", "ANAHEADLESS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(chosen)}


def examined(interface: str, environ: dict[str, str], timeout: float = 20, *, first: bool = False) -> Offscreen:
    return offscreen.examine(interface, sys.executable, environ, timeout, first=first)


def needs(interface: str, environ: dict[str, str]) -> Offscreen:
    """What has drawn; where nothing can, the test is skipped."""
    found = examined(interface, environ)
    if not found.devices:
        pytest.skip(f"{interface} has no driver here: {'; '.join(found.lines())}")
    return found


# --- what draws


@INSTALLED
def test_each_device_draws(interface: str, environ: dict[str, str]) -> None:
    found = needs(interface, environ)
    ways = dict(found.results)
    assert [f"device {number}" in ways for number in range(len(found.devices))] == [True] * len(found.devices)
    assert ("surfaceless" in ways) == (interface == "egl")
    for number, device in enumerate(found.devices):
        result = ways[f"device {number}"]
        assert result.drawn, result
        assert result.renderer
        assert result.version.startswith("EGL 1." if interface == "egl" else "Vulkan 1.")
        assert result.software == device["software"]


def test_the_first_that_draws_is_enough(environ: dict[str, str]) -> None:
    assert len(needs("egl", environ).results) > 1
    assert len(examined("egl", environ, first=True).results) == 1


@INSTALLED
def test_an_interface_without_drivers_is_said(interface: str, environ: dict[str, str]) -> None:
    needs(interface, environ)
    found = examined(interface, {**environ, **NO_DRIVERS[interface]})
    assert not found.drawn()
    assert found.results
    assert found.devices == ()


# --- what fails


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("-DIN_INITIALIZE=if (platform == DEVICE) abort()", "crashed: Aborted"),
        (f"-DIN_INITIALIZE=if (platform == DEVICE) {HANG}", "hung: no picture in time"),
        ('-DIN_INITIALIZE=if (platform == DEVICE) fputs("no licence\\n", stderr), exit(1)', "ended: status 1; no lice"),
        ("-DIN_INITIALIZE=if (platform == DEVICE) return 0", "no display: eglInitialize fails"),
    ],
    ids=["crashes", "hangs", "exits", "refuses"],
)
def test_a_driver_that_fails_costs_its_own_device(
    change: str, said: str, environ: dict[str, str], tmp_path: Path
) -> None:
    needs("egl", environ)
    timeout = 2 if "hung" in said else 20
    ways = dict(examined("egl", {**environ, **changed_egl(tmp_path, change)}, timeout).results)
    assert str(ways["device 0"]).startswith(said)
    assert ways["surfaceless"].drawn


def test_a_picture_that_is_not_there_is_noticed(environ: dict[str, str], tmp_path: Path) -> None:
    needs("egl", environ)
    found = examined("egl", {**environ, **changed_egl(tmp_path, "-DDRAWS_NOTHING")})
    assert {result.outcome for _, result in found.results} == {"wrong pixels"}


@pytest.mark.parametrize(
    ("output", "status", "expected", "left"),
    [
        ("", -11, {"": "crashed: Segmentation fault"}, []),
        ("", None, {"": "hung: no picture in time"}, []),
        ("result: no library\nmessage: libEGL.so.1: no file\n", 0, {"": "no library: libEGL.so.1: no file"}, []),
        ("devices: []\nways: a|b|c\nway: a\nresult: refused\nmessage: no\nway: b\n", -6,
         {"a": "refused: no", "b": "crashed: Aborted"}, ["c"]),
        ("devices: []\nways: a\nway: a\nrenderer: llvmpipe\nresult: drawn\n", None, {"a": "llvmpipe, software"}, []),
        ("devices: []\nways: a|b\n", -6, {"": "crashed: Aborted"}, []),
    ],
    ids=["crashes at once", "hangs at once", "no library", "crashes later", "hangs at its end", "before the first way"],
)  # fmt: skip
def test_output_is_understood(output: str, status: int | None, expected: dict[str, str], left: list[str]) -> None:
    found, remaining = offscreen.parse("egl", CommandResult(status, output, ""), 1.0)
    assert {way: str(result) for way, result in found.results} == expected
    assert remaining == left


# --- what is required


@INSTALLED
def test_a_program_starts_where_it_draws(interface: str, environ: dict[str, str]) -> None:
    needs(interface, environ)
    output = run("run", "-v", "--gl", "none", "--require", interface, "-c", "print('run')", env=environ)
    assert (output.returncode, output.stdout) == (0, "run\n"), output
    assert {"egl": "EGL device 0: ", "vulkan": "Vulkan device 0: "}[interface] in output.stderr


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        ("egl", ["run", "-c", "print('run')"]),
        ("vulkan", ["exec", "true"]),
        ("egl", ["start"]),
        ("vulkan", ["map", "--command", "true", ":::", "1"]),
    ],
    ids=["run", "exec", "start", "map"],
)
def test_a_program_does_not_start_where_it_does_not(
    interface: str, words: list[str], environ: dict[str, str], tmp_path: Path
) -> None:
    environ.update(NO_DRIVERS[interface])
    command, *rest = words
    output = run(command, "--gl", "none", "--require", interface, *rest, env=environ, cwd=tmp_path)
    assert output.returncode == 125, output
    assert f"no {INTERFACES[interface]}: nothing could be drawn" in output.stderr
    assert f"leave out --require {interface}" in output.stderr


def test_doctor_fails_where_a_program_would_not_start(environ: dict[str, str]) -> None:
    output = run("doctor", "--gl", "none", "--require", "egl", env={**environ, **NO_DRIVERS["egl"]})
    assert output.returncode == 1
    assert "advice\n     no EGL: nothing could be drawn. " in output.stdout
    assert "would not start your program" in output.stdout


@pytest.mark.parametrize("interface", ["", *offscreen.DRAWN])
def test_what_is_not_required_is_not_tried(interface: str, environ: dict[str, str]) -> None:
    other = {"egl": "vulkan", "vulkan": "egl"}.get(interface, "egl")
    if interface:
        needs(interface, environ)
    environ.update(NO_DRIVERS[other])
    words = ["--require", interface] if interface else []
    output = run("run", "-v", "--gl", "none", *words, "-c", "print('run')", env=environ)
    assert output.returncode == 0, output
    assert {"egl": "EGL ", "vulkan": "Vulkan "}[other] not in output.stderr


def test_with_a_gpu_asked_for_it_must_be_on_the_gpu(environ: dict[str, str], tmp_path: Path) -> None:
    needs("egl", environ)
    words = ("run", "--no-virtualgl", "--gl", "hardware", "--require", "egl", "-c", "print('run')")
    only_glx = {**environ, **renamed_gl(tmp_path)}
    assert_refused(run(*words, env=only_glx), 125, "no EGL on hardware", "  | EGL device 0: ", ", software")
    changed_egl(tmp_path, GPU)
    assert run(*words, env=only_glx).stdout == "run\n"
    words = (*words[:2], "--gl", "software", *words[4:])
    assert_refused(run(*words, env={**environ, **changed_egl(tmp_path / "egl", GPU)}), 125, "no EGL in software")


def test_the_device_that_programs_are_told_to_use_must_draw(environ: dict[str, str]) -> None:
    needs("egl", environ)
    words = ("run", "-v", "--gl", "none", "--require", "egl", "-c", "print('run')")
    assert_refused(
        run(*words, env={**environ, "MUJOCO_EGL_DEVICE_ID": "77"}), 125, "EGL device 77: no device: EGL lists"
    )
    output = run(*words, env={**environ, "VTK_DEFAULT_EGL_DEVICE_INDEX": "0"})
    assert (output.stdout, output.stderr.count("EGL ")) == ("run\n", 1)


def test_an_older_libstdcxx_is_named() -> None:
    """As libglvnd hides it, and offscreencheck.py hears it."""
    said = "eglGetPlatformDisplay fails; /opt/lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found"
    found = Offscreen("egl", (), (("surfaceless", ProbeResult("no display", said)),))
    error = requirements.failure(found, options.Options(), {})
    assert error is not None
    assert "libstdcxx-ng" in error.hint


def test_glx_is_required_anyway(environ: dict[str, str]) -> None:
    assert run("run", "--require", "glx", "-c", "print('run')", env=environ).stdout == "run\n"
    assert_refused(run("run", "--gl", "none", "--require", "glx", "-c", "1", env=environ), 2, "contradict each other")


def test_a_wrong_word_is_refused(environ: dict[str, str]) -> None:
    for words in ["--require", "dx12"], ["--require", "egl", "--require", ""]:
        assert_refused(run("run", *words, "-c", "pass", env=environ), 2, "is not one of 'glx', 'egl', 'vulkan'")


def test_python_code_can_require_it(environ: dict[str, str]) -> None:
    needs("egl", environ)
    environ["PATH"] = os.environ["PATH"]
    with anaheadless.virtual_display(environ, gl="none", require=["egl"]) as display:
        assert display.environ["DISPLAY"]
    environ.update(NO_DRIVERS["egl"])
    with pytest.raises(LaunchError, match="no EGL"), anaheadless.virtual_display(environ, gl="none", require=["egl"]):
        pass


def test_variables_can_require_both(environ: dict[str, str]) -> None:
    needs("vulkan", environ)
    with holding("--gl", "none", "-v", env={**environ, "ANAHEADLESS_REQUIRE": "egl vulkan"}) as session:
        assert session.display


# --- what doctor says


def test_doctor_shows_what_draws(environ: dict[str, str]) -> None:
    needs("egl", environ)
    report = json.loads(run("doctor", "--gl", "none", "--json", env=environ).stdout)
    for test in report["offscreen"]:
        assert (test["result"], bool(test["renderer"])) == ("drawn", True)
    assert {test["interface"] for test in report["offscreen"]} >= {"egl"}
    assert all(isinstance(device["software"], bool) for device in report["egl_devices"])


def test_doctor_says_how_to_use_a_gpu_that_only_egl_reaches(environ: dict[str, str], tmp_path: Path) -> None:
    needs("egl", environ)
    output = run("doctor", "--no-virtualgl", env={**environ, **changed_egl(tmp_path, GPU)})
    assert output.returncode == 0
    assert "EGL surfaceless: GeForce of a dream (hardware)" in output.stdout
    for word in "VirtualGL", "VTK", "PyVista", "MUJOCO_GL=egl", "PYOPENGL_PLATFORM=egl":
        assert word in output.stdout
