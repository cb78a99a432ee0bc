"""Which GPUs a machine has, and who may use them, as tables of machines that are made up of files."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from anaheadless.diagnostics import doctor
from anaheadless.opengl import devices, hardware
from anaheadless.opengl.devices import Gpu
from tests.support.device_files import with_device_files
from tests.support.helpers import ANAHEADLESS
from tests.support.machines import MINE, RENDER, VIDEO, Machine, make
from tests.support.namespaces import in_namespaces, needs_namespaces

NAMES = {VIDEO: "video", RENDER: "render"}


AMD = "0000:03:00.0 0x1002 amdgpu card0 renderD128"
INTEL = "0000:00:02.0 0x8086 i915 card1 renderD129"
A100 = "0000:01:00.0 0x10de nvidia card0 renderD128"
A100_TOO = "0000:02:00.0 0x10de nvidia card1 renderD129"
BOTH = "card0=660:44 renderD128=660:109"
NVIDIA = "nvidia0=666:0"
IN_PROC, IN_PROC_TOO = "0000:01:00.0 nvidia0 GPU-aaaa", "0000:02:00.0 nvidia1 GPU-bbbb"
AMD_FOUND = "GPU 0000:03:00.0: AMD, driver amdgpu: /dev/dri/card0, /dev/dri/renderD128"
JOIN_RENDER = (
    "Only the group render may open /dev/dri/renderD128: join it (usermod -aG render USER), and log in again; in a "
    "container, use --group-add 109."
)
JOIN_VIDEO = JOIN_RENDER.replace("109", "44").replace("group render", "group video").replace("G render", "G video")
JOIN_VIDEO = JOIN_VIDEO.replace("renderD128", "card0")

MACHINES = {
    "nothing": Machine("", "", ""),
    "AMD": Machine(AMD, BOTH, f"ok {AMD_FOUND}"),
    "AMD, and nobody is in a group": Machine(AMD, BOTH, f"!! {AMD_FOUND}\n{JOIN_RENDER}\n{JOIN_VIDEO}", (1000,)),
    "AMD, in the group render": Machine(AMD, BOTH, f"ok {AMD_FOUND}", (RENDER,)),
    "AMD, in the group video": Machine(AMD, BOTH, f"ok {AMD_FOUND}", (VIDEO,)),
    "AMD, and somebody sits at its screen": Machine(
        AMD, "card0=660:44+ renderD128=660:109", f"ok {AMD_FOUND}", (1000,)
    ),
    "AMD, and its render node is for all, as with systemd before 239": Machine(
        AMD, "card0=660:44 renderD128=666:109", f"ok {AMD_FOUND}", (1000,)
    ),
    "AMD, both nodes of one group": Machine(
        AMD, "card0=660:44 renderD128=660:44", f"!! {AMD_FOUND}\n{JOIN_VIDEO.replace('card0', 'renderD128')}", (1000,)
    ),
    "AMD, nodes for root alone": Machine(
        AMD,
        "card0=600:0 renderD128=600:0",
        f"!! {AMD_FOUND}\n/dev/dri/renderD128 has mode 0600, which keeps you out: ask whoever set it up.",
    ),
    "AMD, nodes that can only be read": Machine(
        AMD,
        "card0=444:0 renderD128=444:0",
        f"!! {AMD_FOUND}\n/dev/dri/renderD128 has mode 0444, which keeps you out: ask whoever set it up.",
    ),
    "container with a render node alone": Machine(
        AMD, "renderD128=660:109", "ok GPU 0000:03:00.0: AMD, driver amdgpu: /dev/dri/renderD128"
    ),
    "container with a card node alone": Machine(
        AMD, "card0=660:44", "ok GPU 0000:03:00.0: AMD, driver amdgpu: /dev/dri/card0"
    ),
    "container without the host's group": Machine(
        AMD,
        "renderD128=660:993",
        "!! GPU 0000:03:00.0: AMD, driver amdgpu: /dev/dri/renderD128\n"
        "Only the group 993 may open /dev/dri/renderD128: join it (usermod -aG 993 USER), and log in again; in a "
        "container, use --group-add 993.",
        (0,),
    ),
    "container with the second GPU's render node": Machine(
        f"{AMD}\n{INTEL}", "renderD129=660:109", "ok GPU 0000:00:02.0: Intel, driver i915: /dev/dri/renderD129"
    ),
    "container without /sys": Machine(
        "",
        BOTH,
        "ok GPU: unknown vendor, unknown driver: /dev/dri/card0\n"
        "ok GPU: unknown vendor, unknown driver: /dev/dri/renderD128",
    ),
    "container without the host's devices, but with its /sys": Machine(f"{AMD}\n{INTEL}", "", ""),
    "Intel and AMD": Machine(
        f"{AMD}\n{INTEL}",
        f"{BOTH} card1=660:44 renderD129=660:109",
        f"ok GPU 0000:00:02.0: Intel, driver i915: /dev/dri/card1, /dev/dri/renderD129\nok {AMD_FOUND}",
    ),
    "two of AMD, of which one is shut": Machine(
        f"{AMD}\n0000:83:00.0 0x1002 amdgpu card1 renderD129",
        f"{BOTH} card1=600:0 renderD129=600:0",
        f"ok {AMD_FOUND}\n!! GPU 0000:83:00.0: AMD, driver amdgpu: /dev/dri/card1, /dev/dri/renderD129\n"
        "/dev/dri/renderD129 has mode 0600, which keeps you out: ask whoever set it up.",
    ),
    "NVIDIA": Machine(
        A100,
        f"{BOTH} {NVIDIA}",
        "ok GPU 0000:01:00.0: NVIDIA, driver nvidia: /dev/dri/card0, /dev/dri/renderD128, /dev/nvidia0",
        nvidia=IN_PROC,
    ),
    "NVIDIA, and nobody is in a group": Machine(
        A100,
        f"{BOTH} {NVIDIA}",
        "ok GPU 0000:01:00.0: NVIDIA, driver nvidia: /dev/dri/card0, /dev/dri/renderD128, /dev/nvidia0",
        (1000,),
        IN_PROC,
    ),
    "NVIDIA's container": Machine(
        f"{A100}\n{A100_TOO}", NVIDIA, "ok GPU 0000:01:00.0: NVIDIA, driver nvidia: /dev/nvidia0", nvidia=IN_PROC
    ),
    "NVIDIA's container with the second of two": Machine(
        f"{A100}\n{A100_TOO}",
        "nvidia1=666:0",
        "ok GPU 0000:02:00.0: NVIDIA, driver nvidia: /dev/nvidia1",
        nvidia=f"{IN_PROC}\n{IN_PROC_TOO}",
    ),
    "NVIDIA's device alone": Machine("", NVIDIA, "ok GPU: NVIDIA, unknown driver: /dev/nvidia0"),
    "NVIDIA without /sys": Machine(
        "", NVIDIA, "ok GPU 0000:01:00.0: NVIDIA, unknown driver: /dev/nvidia0", nvidia=IN_PROC
    ),
    "NVIDIA, numbered against the order of the bus": Machine(
        f"{A100}\n{A100_TOO}",
        f"{BOTH} card1=660:44 renderD129=660:109 {NVIDIA} nvidia1=666:0",
        "ok GPU 0000:01:00.0: NVIDIA, driver nvidia: /dev/dri/card0, /dev/dri/renderD128, /dev/nvidia1\n"
        "ok GPU 0000:02:00.0: NVIDIA, driver nvidia: /dev/dri/card1, /dev/dri/renderD129, /dev/nvidia0",
        nvidia="0000:01:00.0 nvidia1 GPU-aaaa\n0000:02:00.0 nvidia0 GPU-bbbb",
    ),
    "NVIDIA with nouveau": Machine(
        A100.replace(" nvidia ", " nouveau "),
        BOTH,
        "ok GPU 0000:01:00.0: NVIDIA, driver nouveau: /dev/dri/card0, /dev/dri/renderD128",
    ),
    "laptop: Intel draws, NVIDIA helps": Machine(
        f"{INTEL}\n{A100}",
        f"{BOTH} card1=660:44 renderD129=660:109 {NVIDIA}",
        "ok GPU 0000:00:02.0: Intel, driver i915: /dev/dri/card1, /dev/dri/renderD129\n"
        "ok GPU 0000:01:00.0: NVIDIA, driver nvidia: /dev/dri/card0, /dev/dri/renderD128, /dev/nvidia0",
        nvidia=IN_PROC,
    ),
    "server with a management chip": Machine(
        "0000:02:00.0 0x1a03 ast card0",
        "card0=660:44",
        "!! GPU 0000:02:00.0: ASPEED, driver ast: /dev/dri/card0\nast only shows pictures, and can't draw.",
    ),
    "server with a management chip and a GPU": Machine(
        "0000:02:00.0 0x1a03 ast card0\n0000:c1:00.0 0x10de nvidia card1 renderD128",
        f"card0=660:44 card1=660:44 renderD128=660:109 {NVIDIA}",
        "!! GPU 0000:02:00.0: ASPEED, driver ast: /dev/dri/card0\nast only shows pictures, and can't draw.\n"
        "ok GPU 0000:c1:00.0: NVIDIA, driver nvidia: /dev/dri/card1, /dev/dri/renderD128, /dev/nvidia0",
        nvidia="0000:c1:00.0 nvidia0 GPU-cccc",
    ),
    "virtual machine with virtio": Machine(
        "0000:00:01.0/virtio0 0x1af4 virtio_gpu card0 renderD128",
        BOTH,
        "ok GPU 0000:00:01.0: virtio, driver virtio_gpu: /dev/dri/card0, /dev/dri/renderD128",
    ),
    "virtual machine with a screen alone": Machine(
        "0000:00:01.0 0x1234 bochs-drm card0",
        "card0=660:44",
        "!! GPU 0000:00:01.0: QEMU, driver bochs-drm: /dev/dri/card0\nbochs-drm only shows pictures, and can't draw.",
    ),
    "the firmware's own screen": Machine(
        "simple-framebuffer.0 - simple-framebuffer card0",
        "card0=660:44",
        "!! GPU simple-framebuffer.0: unknown vendor, driver simple-framebuffer: /dev/dri/card0\n"
        "simple-framebuffer only shows pictures, and can't draw.",
    ),
    "Raspberry Pi: one shows, another one draws": Machine(
        "fec00000.v3d - v3d card0 renderD128\ngpu - vc4-drm card1",
        f"{BOTH} card1=660:44",
        "ok GPU fec00000.v3d: unknown vendor, driver v3d: /dev/dri/card0, /dev/dri/renderD128\n"
        "!! GPU gpu: unknown vendor, driver vc4-drm: /dev/dri/card1\nvc4-drm only shows pictures, and can't draw.",
    ),
    "a vendor that is not known": Machine(
        "0000:07:00.0 0x1ed5 mtgpu card0 renderD128",
        BOTH,
        "ok GPU 0000:07:00.0: 0x1ed5, driver mtgpu: /dev/dri/card0, /dev/dri/renderD128",
    ),
    "a device without a driver": Machine(
        "0000:07:00.0 0x1002 - card0 renderD128",
        BOTH,
        "ok GPU 0000:07:00.0: AMD, unknown driver: /dev/dri/card0, /dev/dri/renderD128",
    ),
    "WSL": Machine("", "dxg=666:0", "ok GPU: Microsoft, driver dxg: /dev/dxg"),
    "other files": Machine("", "by-path=755:0 controlD64=660:44 nvidiactl=666:0 nvidia-uvm=666:0 cards=666:0", ""),
}


def described(gpus: list[Gpu], groups: tuple[int, ...], root: Path) -> Iterator[str]:
    for gpu in gpus:
        for line in (
            f"{'ok' if gpu.usable else '!!'} {gpu}",
            *devices.obstacles(gpu, groups, lambda gid: NAMES.get(gid, str(gid))),
        ):
            yield line.replace(str(root), "")


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_each_machine_has_its_gpus(machine: Machine, tmp_path: Path) -> None:
    gpus = make(machine, tmp_path)
    assert "\n".join(described(gpus, machine.groups, tmp_path)) == machine.found
    why = devices.why_none(gpus, machine.groups)
    assert bool(why) is ("ok " not in machine.found)


def test_the_uuid_is_that_of_the_device(tmp_path: Path) -> None:
    gpus = make(MACHINES["NVIDIA, numbered against the order of the bus"], tmp_path)
    assert [(gpu.uuid, gpu.nodes[-1].name) for gpu in gpus] == [("GPU-aaaa", "nvidia1"), ("GPU-bbbb", "nvidia0")]


def test_a_device_that_a_cgroup_forbids_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its permissions do not show that: it has to be opened."""
    machine = MACHINES["Intel and AMD"]
    make(machine, tmp_path)
    really_open = os.open

    def refuse(path: str, flags: int, *more: int, **others: int) -> int:
        if path.endswith(("card0", "renderD128")):
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        return really_open(path, flags, *more, **others)

    monkeypatch.setattr(os, "open", refuse)
    intel, amd = devices.find_gpus(str(tmp_path))
    assert (intel.usable, amd.usable) == (True, False)
    assert list(devices.obstacles(intel, ())) == []
    (said,) = devices.obstacles(amd, ())
    assert "renderD128 is not for this job: its cgroup forbids it" in said


def test_torque_names_the_gpus_of_each_machine(tmp_path: Path) -> None:
    here = os.uname().nodename.partition(".")[0]
    file = tmp_path / "gpus"
    file.write_text(f"another-gpu0\n{here}-gpu2\n{here}.cluster.org-gpu1\n\n{here}-mic0\n")
    assert devices.pbs_gpus({"PBS_GPUFILE": str(file)}) == ("2", "1")
    assert devices.pbs_gpus({"PBS_GPUFILE": "/nonexistent"}) == devices.pbs_gpus({}) == ()


def test_no_gpu_is_told_from_one_that_is_shut(tmp_path: Path) -> None:
    assert devices.why_none([], MINE).startswith("There is no GPU here")
    shut = MACHINES["AMD, and nobody is in a group"]
    why = devices.why_none(make(shut, tmp_path), shut.groups, lambda gid: NAMES[gid]).replace(str(tmp_path), "")
    assert why == f"{JOIN_RENDER} {JOIN_VIDEO}"


@pytest.mark.parametrize(
    ("files", "numbers"),
    [
        (["/dev/dri/card0", None], [[], [0]]),
        (["/dev/dri/card1", "/dev/dri/card0", None], [[0], [1]]),
        (["/dev/dri/renderD128", "/dev/dri/card0"], [[], [0, 1]]),
        ([None], [[], []]),
        ([], [[], []]),
    ],
)
def test_egl_devices_belong_to_their_gpus(files: list[str | None], numbers: list[list[int]], tmp_path: Path) -> None:
    """Also where EGL names a card node that a container lacks."""
    machine = Machine(f"{AMD}\n{INTEL}", "renderD128=660:109 renderD129=660:109", "")
    assert [devices.egl_numbers(gpu, files) for gpu in make(machine, tmp_path)] == numbers


def test_a_render_node_is_a_gpu_for_virtualgl(tmp_path: Path) -> None:
    make(MACHINES["container with a render node alone"], tmp_path)
    assert hardware.node_paths(str(tmp_path)) == [f"{tmp_path}/dev/dri/renderD128"]


@pytest.mark.parametrize("name", ["AMD, and nobody is in a group", "NVIDIA", "server with a management chip"])
def test_doctor_shows_the_table(name: str, tmp_path: Path) -> None:
    machine = MACHINES[name]
    found = {"egl_devices": [{"file": "/dev/dri/card0", "software": False}], "devices": [], "advice": []}
    gpus = make(machine, tmp_path)
    doctor.add_devices(found, gpus)
    (row,) = json.loads(json.dumps(found["devices"]))
    assert (row["label"], row["usable"], row["egl"]) == (str(gpus[0]), machine.found.startswith("ok"), [0])
    assert [node["path"] for node in row["nodes"]] == [node.path for node in gpus[0].nodes]
    assert row["nodes"][0]["mode"] == "0660"
    assert found["advice"] == (row["obstacles"] if "group" in name else [])


@needs_namespaces
def test_a_container_with_a_render_node_alone_is_seen(tmp_path: Path) -> None:
    """It is no real one, so that nothing draws on it."""
    setup = with_device_files(tmp_path, "dri/renderD128")
    output = in_namespaces(ANAHEADLESS, "doctor", "--json", setup=setup)
    report = json.loads(output.stdout)
    assert [gpu["path"] for gpu in report["gpus"]] == ["/dev/dri/renderD128"]
    assert [device["usable"] for device in report["devices"]] == [True]
