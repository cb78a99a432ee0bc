"""Why no GPU draws, as a table of machines that are made up of files: each cause in words that say what to do."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from anaheadless.diagnostics import doctor
from anaheadless.opengl import candidates, causes
from anaheadless.options import OpenGLRequest
from anaheadless.system.libraries import LIBRARY_FOLDERS
from tests.support import machines
from tests.support.machines import MINE

LIBRARIES = LIBRARY_FOLDERS[0].lstrip("/")
EGL_FILES, VULKAN_FILES = "usr/share/glvnd/egl_vendor.d", "usr/share/vulkan/icd.d"


def driver(library: str) -> str:
    return json.dumps({"file_format_version": "1.0.0", "ICD": {"library_path": library}})


MESA = {
    f"{LIBRARIES}/libGLX_mesa.so.0": "",
    f"{LIBRARIES}/libEGL_mesa.so.0": "",
    f"{LIBRARIES}/libvulkan_lvp.so": "",
    f"{EGL_FILES}/50_mesa.json": driver("libEGL_mesa.so.0"),
    f"{VULKAN_FILES}/lvp_icd.json": driver("libvulkan_lvp.so"),
}
NVIDIA_LIBRARIES = {
    f"{LIBRARIES}/{name}": ""
    for name in ("libGLX_nvidia.so.0", "libGLX_nvidia.so.550.90.07", "libEGL_nvidia.so.0", "libEGL_nvidia.so.550.90.07")
}
NVIDIA_FILES = {
    f"{EGL_FILES}/10_nvidia.json": driver("libEGL_nvidia.so.0"),
    f"{VULKAN_FILES}/nvidia_icd.json": driver("libGLX_nvidia.so.0"),
}
MODULE = {"sys/module/nvidia/version": "550.90.07\n"}
A100 = ("0000:01:00.0 0x10de nvidia card0 renderD128", "nvidia0=666:0", "", MINE, "0000:01:00.0 nvidia0 GPU-aaaa")
AMD = ("0000:03:00.0 0x1002 amdgpu card0 renderD128", "card0=660:44 renderD128=660:109", "")
VIRTIO = ("0000:00:01.0/virtio0 0x1af4 virtio_gpu card0 renderD128", AMD[1], "")
IN_DOCKER = {".dockerenv": ""}
WSL = ("", "dxg=666:0", "")
D3D12 = {"usr/lib/wsl/lib/libd3d12core.so": ""}


@dataclass(frozen=True)
class Case:
    """A machine, and of each cause that is seen, the words that stand in it; by interface, if they differ."""

    machine: machines.Machine
    words: dict[str, list[str]] | list[str]
    environ: dict[str, str] = field(default_factory=dict)

    def expected(self, interface: str) -> list[str]:
        return self.words if isinstance(self.words, list) else self.words.get(interface, [])


def machine(gpu: tuple[Any, ...], *files: dict[str, str]) -> machines.Machine:
    found: dict[str, str] = {}
    for each in files:
        found |= each
    return replace(machines.Machine(*gpu), files=found)


CASES = {
    "no GPU": Case(machine(("", "", ""), MESA), ["There is no GPU here"]),
    "AMD with all it needs": Case(machine(AMD, MESA), []),
    "AMD, and nobody is in a group": Case(
        machine((*AMD, (1000,)), MESA), ["(?s)Only the group .+ may open .+renderD128: join it .+card0: join it"]
    ),
    "NVIDIA with all it needs": Case(machine(A100, MESA, NVIDIA_LIBRARIES, NVIDIA_FILES, MODULE), []),
    "NVIDIA's container without capabilities": Case(
        machine(A100, MESA, MODULE, IN_DOCKER),
        [r"without its graphics libraries \(lib\w+_nvidia.so.0 is missing\).+NVIDIA_DRIVER_CAPABILITIES=all.+not set"],
    ),
    "NVIDIA's container for computing": Case(
        machine(A100, MESA, MODULE),
        ["NVIDIA_DRIVER_CAPABILITIES=all .it is compute,utility"],
        {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"},
    ),
    "NVIDIA's container on a host with a headless driver": Case(
        machine(A100, MESA, MODULE, IN_DOCKER),
        ["although NVIDIA_DRIVER_CAPABILITIES=graphics asks for it: the host's driver has no OpenGL"],
        {"NVIDIA_DRIVER_CAPABILITIES": "graphics"},
    ),
    "NVIDIA without its OpenGL": Case(
        machine(A100, MESA, MODULE), [r"NVIDIA's driver is there, but not its lib\w+_nvidia.so.0: install"]
    ),
    "NVIDIA without the files that name it": Case(
        machine(A100, MESA, NVIDIA_LIBRARIES, MODULE, IN_DOCKER),
        {
            "egl": ['no file in .+ names it. Put this into .+/egl_vendor.d/10_nvidia.json: {.+"libEGL_nvidia.so.0"}}'],
            "vulkan": ['no file in .+ names it. Put this into .+/icd.d/nvidia_icd.json: {.+"libGLX_nvidia.so.0", "api'],
        },
    ),
    "NVIDIA, after an update": Case(
        machine(A100, MESA, NVIDIA_LIBRARIES, NVIDIA_FILES, {"sys/module/nvidia/version": "535.1.2\n"}),
        ["kernel module has version 535.1.2, and its libraries have 550.90.07: restart the machine"],
    ),
    "NVIDIA, with libraries in the image": Case(
        machine(
            A100,
            MESA,
            NVIDIA_LIBRARIES,
            NVIDIA_FILES,
            IN_DOCKER,
            {
                "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  R\n"
                "GCC version: gcc 13.2.0\n"
            },
        ),
        ["version 560.35.03, and its libraries have 550.90.07: the libraries in the image must go"],
    ),
    "NVIDIA's older words for its version": Case(
        machine(
            A100,
            MESA,
            NVIDIA_LIBRARIES,
            NVIDIA_FILES,
            {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31\n"},
        ),
        [],
    ),
    "NVIDIA with nouveau": Case(
        machine((A100[0].replace(" nvidia ", " nouveau "), AMD[1], ""), MESA), ["nouveau.+install NVIDIA's driver"]
    ),
    "virtual machine": Case(
        machine(VIRTIO, MESA),
        {
            "glx": ["virtio.+-device virtio-vga-gl"],
            "egl": ["virtio.+-device virtio-vga-gl"],
            "vulkan": ["venus. is not installed .Debian: mesa-vulkan-drivers", "venus=on"],
        },
    ),
    "virtual machine with venus": Case(
        machine(
            VIRTIO,
            MESA,
            {
                f"{VULKAN_FILES}/virtio_icd.json": driver("libvulkan_virtio.so"),
                f"{LIBRARIES}/libvulkan_virtio.so": "",
            },
        ),
        {"glx": ["virtio-vga-gl"], "egl": ["virtio-vga-gl"], "vulkan": ["venus=on"]},
    ),
    "WSL": Case(machine(WSL, MESA, D3D12), ["This is WSL, .+GALLIUM_DRIVER=d3d12"]),
    "WSL, asked for": Case(machine(WSL, MESA, D3D12), [], {"GALLIUM_DRIVER": "d3d12"}),
    "WSL with an old driver in Windows": Case(
        machine(WSL, MESA), ["This is WSL, .+libd3d12core.so. are missing: update .+wsl --update"]
    ),
    "container in WSL": Case(
        machine(WSL, MESA, IN_DOCKER), ["start the container with --device /dev/dxg -v /usr/lib/wsl:"]
    ),
    "software is asked for": Case(
        machine(AMD, MESA),
        {"glx": ["LIBGL_ALWAYS_SOFTWARE=1 is set"], "egl": ["LIBGL_ALWAYS_SOFTWARE=1 is set"]},
        {"LIBGL_ALWAYS_SOFTWARE": "1"},
    ),
    "a driver in software is asked for": Case(
        machine(AMD, MESA),
        {"glx": ["GALLIUM_DRIVER=llvmpipe is set"], "egl": ["GALLIUM_DRIVER=llvmpipe is set"]},
        {"GALLIUM_DRIVER": "llvmpipe"},
    ),
    "other drivers are asked for": Case(
        machine(AMD, MESA),
        {"egl": ["^__EGL_VENDOR_LIBRARY_FILENAMES is set"], "vulkan": ["^VK_DRIVER_FILES is set"]},
        {"__EGL_VENDOR_LIBRARY_FILENAMES": "/x.json", "VK_DRIVER_FILES": "/x.json"},
    ),
    "AMD and nothing installed": Case(
        machine(AMD),
        {
            "glx": ["no driver's library for GLX .+libglx-mesa0"],
            "egl": ["EGL knows no driver, .+libegl-mesa0"],
            "vulkan": ["Vulkan knows no driver, .+mesa-vulkan-drivers"],
        },
    ),
    "drivers that are named and not there": Case(
        machine(AMD, MESA, {f"{EGL_FILES}/a.json": driver("/opt/libEGL_x.so"), f"{VULKAN_FILES}/b.json": "{"}),
        {
            "egl": ["a.json names the driver /opt/libEGL_x.so, which is not there"],
            "vulkan": ["b.json names the driver ., which is not there"],
        },
    ),
}


def made(case: Case, root: Path) -> causes.Machine:
    gpus = machines.make(case.machine, root)
    return causes.Machine(tuple(gpus), case.environ, case.machine.groups, str(root))


@pytest.mark.parametrize("interface", ["glx", "egl", "vulkan"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_cause_is_seen(case: Case, interface: str, tmp_path: Path) -> None:
    found = causes.why_not(interface, made(case, tmp_path))
    expected = case.expected(interface)
    assert len(found) == len(expected), found
    for sentence, words in zip(found, expected):
        assert re.search(words, sentence), sentence


@pytest.mark.parametrize(("files", "said"), [
    (["usr/sbin/gdm3"], True),
    (["usr/sbin/gdm"], True),
    (["usr/sbin/gdm3", "usr/libexec/gdm-x-session"], False),
    (["usr/sbin/lightdm"], False),
])  # fmt: skip
def test_a_display_manager_without_x_is_named(files: list[str], said: bool, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    message = causes.no_3d_server("[VGL] ERROR: Could not open display :0.", str(tmp_path))
    assert ("--vgl-display egl" in message) is said
    assert causes.no_3d_server("[VGL] ERROR: something else", str(tmp_path)) == ""


def result(renderer: str, **more: str) -> dict[str, Any]:
    shown = candidates.ProbeResult("drawn" if renderer else "refused", renderer=renderer)
    return {"hardware": shown.hardware, "result": shown.outcome, "message": "", **more}


@pytest.mark.parametrize("name", CASES)
def test_doctor_says_each_cause_once(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    report = {
        "candidates": [result("llvmpipe")],
        "offscreen": [result("llvmpipe", interface="egl"), result("", interface="vulkan")],
        "advice": [],
    }
    here = made(case, tmp_path)
    doctor.add_causes(report, here, OpenGLRequest())
    texts = [cause["text"] for cause in report["causes"]]
    assert len(texts) == len(set(texts))
    if here.has_gpu:
        expected = {sentence for each in ("glx", "egl", "vulkan") for sentence in causes.why_not(each, here)}
        assert set(texts) == expected
    else:  # the list of devices says so already
        assert texts == []
    doctor.add_causes(report, here, OpenGLRequest("software"))
    assert all("glx" not in cause["interfaces"] for cause in report["causes"])


def test_what_draws_on_a_gpu_has_no_causes(tmp_path: Path) -> None:
    report = {"candidates": [result("Radeon")], "offscreen": [result("Radeon", interface="egl")], "advice": []}
    doctor.add_causes(report, made(CASES["AMD and nothing installed"], tmp_path), OpenGLRequest())
    assert report["causes"] == []
