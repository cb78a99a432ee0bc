"""Which GPU a job gets, by what Slurm, containers, CUDA and their like say, as tables of machines and variables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anaheadless.errors import LaunchError
from anaheadless.opengl import allocation, candidates
from anaheadless.opengl.devices import Gpu, Node
from anaheadless.opengl.hardware import JOB_VARIABLES, HostCapabilities, VirtualGl
from anaheadless.options import OpenGLRequest
from tests.support.device_files import with_device_files
from tests.support.helpers import ANAHEADLESS, assert_refused, run
from tests.support.namespaces import in_namespaces, needs_namespaces


def gpu(bus: int, vendor: str, number: int, *, usable: bool = True) -> Gpu:
    """The GPU at ``0000:BUS:00.0``, with the device files of that number, of which a container has but the last."""
    names = (f"card{number}", f"renderD{128 + number}")
    last = f"/dev/nvidia{number}" if vendor == "NVIDIA" else f"/dev/dri/{names[1]}"
    drivers = {"NVIDIA": "nvidia", "AMD": "amdgpu", "Intel": "i915"}
    uuid = f"GPU-{bus:08x}-aaaa" if vendor == "NVIDIA" else ""
    return Gpu(f"0000:{bus:02x}:00.0", vendor, drivers[vendor], uuid, True, names, (Node(last, 0o660, 0, usable),))


# NVIDIA's device files are numbered against the order of the bus, as it happens.
FOUR = tuple(gpu(bus, "NVIDIA", 4 - bus) for bus in (1, 2, 3, 4))
AMD = tuple(gpu(bus, "AMD", bus) for bus in (5, 6))
INTEL = (gpu(0, "Intel", 9),)
ALL = (*INTEL, *FOUR, *AMD)
UUID = "GPU-00000003-aaaa"

# GPUs, variables, and those that the job gets, by their place on the bus.
CASES: dict[str, tuple[tuple[Gpu, ...], dict[str, str], str]] = {
    "no variable": (ALL, {}, "1 2 3 4 5 6 0"),
    "CUDA: one": (FOUR, {"CUDA_VISIBLE_DEVICES": "2"}, "3"),
    "CUDA: several, in their order": (FOUR, {"CUDA_VISIBLE_DEVICES": "3,0"}, "4 1"),
    "CUDA: blanks": (FOUR, {"CUDA_VISIBLE_DEVICES": " 1 , 2"}, "2 3"),
    "CUDA: one twice": (FOUR, {"CUDA_VISIBLE_DEVICES": "1,1"}, "2"),
    "CUDA: none": (FOUR, {"CUDA_VISIBLE_DEVICES": ""}, ""),
    "CUDA: NoDevFiles": (FOUR, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ""),
    "CUDA: -1": (FOUR, {"CUDA_VISIBLE_DEVICES": "-1"}, ""),
    "CUDA: what comes after -1 does not count": (FOUR, {"CUDA_VISIBLE_DEVICES": "1,-1,0"}, "2"),
    "CUDA: too high": (FOUR, {"CUDA_VISIBLE_DEVICES": "4"}, ""),
    "CUDA: far too high": (FOUR, {"CUDA_VISIBLE_DEVICES": "9" * 5000}, ""),
    "CUDA: a UUID": (FOUR, {"CUDA_VISIBLE_DEVICES": UUID}, "3"),
    "CUDA: the beginning of a UUID": (FOUR, {"CUDA_VISIBLE_DEVICES": "GPU-00000003"}, "3"),
    "CUDA: the beginning of all UUIDs": (FOUR, {"CUDA_VISIBLE_DEVICES": "GPU-0000"}, ""),
    "CUDA: a UUID of another machine": (FOUR, {"CUDA_VISIBLE_DEVICES": "GPU-ffff"}, ""),
    "CUDA: a UUID, and nothing here tells them": (
        tuple(each.replace(uuid="") for each in FOUR),
        {"CUDA_VISIBLE_DEVICES": UUID},
        "1 2 3 4",
    ),
    "CUDA: a part of a GPU, which can't draw": (FOUR, {"CUDA_VISIBLE_DEVICES": "MIG-0000"}, ""),
    "CUDA has no say in others": (ALL, {"CUDA_VISIBLE_DEVICES": ""}, "5 6 0"),
    "CUDA: what it names comes first": (ALL, {"CUDA_VISIBLE_DEVICES": "1"}, "2 5 6 0"),
    "CUDA without NVIDIA": (AMD, {"CUDA_VISIBLE_DEVICES": "1"}, "5 6"),
    "CUDA counts only what can be opened": (
        (FOUR[0], FOUR[1].replace(nodes=(Node("/dev/nvidia2", 0, 0, False),)), FOUR[2]),
        {"CUDA_VISIBLE_DEVICES": "1"},
        "3",
    ),
    "container: all": (FOUR, {"NVIDIA_VISIBLE_DEVICES": "all"}, "1 2 3 4"),
    "container: void": (FOUR, {"NVIDIA_VISIBLE_DEVICES": "void"}, "1 2 3 4"),
    "container: none": (FOUR, {"NVIDIA_VISIBLE_DEVICES": "none"}, ""),
    "container: one, and all are seen": (FOUR, {"NVIDIA_VISIBLE_DEVICES": "2"}, "3"),
    "container: a UUID, and all are seen": (FOUR, {"NVIDIA_VISIBLE_DEVICES": UUID}, "3"),
    "container: the host's number of the only one": (FOUR[2:3], {"NVIDIA_VISIBLE_DEVICES": "2"}, "3"),
    "container, and CUDA counts again": (
        FOUR,
        {"NVIDIA_VISIBLE_DEVICES": "2,3", "CUDA_VISIBLE_DEVICES": "1"},
        "4",
    ),
    "Slurm: a job": (FOUR, {"SLURM_JOB_GPUS": "0"}, "4"),
    "Slurm: a step before its job": (FOUR, {"SLURM_JOB_GPUS": "0,1", "SLURM_STEP_GPUS": "1"}, "3"),
    "Slurm with cgroups: CUDA counts again": (FOUR, {"SLURM_JOB_GPUS": "1,2", "CUDA_VISIBLE_DEVICES": "0,1"}, "2 3"),
    "Slurm without cgroups: CUDA does not": (FOUR, {"SLURM_JOB_GPUS": "1,2", "CUDA_VISIBLE_DEVICES": "1,2"}, "2 3"),
    "Slurm, and the program's own choice": (FOUR, {"SLURM_JOB_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "3"}, "1"),
    "Slurm in a container with other numbers": (FOUR[2:3], {"SLURM_JOB_GPUS": "7"}, "3"),
    "Slurm: empty": (FOUR, {"SLURM_JOB_GPUS": ""}, "1 2 3 4"),
    "Slurm: NoDevFiles": (FOUR, {"SLURM_JOB_GPUS": "0", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ""),
    "Slurm: AMD": (AMD, {"SLURM_JOB_GPUS": "1"}, "6"),
    "AMD: ROCm": (AMD, {"ROCR_VISIBLE_DEVICES": "1"}, "6"),
    "AMD: ROCm before OpenCL": (AMD, {"ROCR_VISIBLE_DEVICES": "1", "GPU_DEVICE_ORDINAL": "0"}, "6"),
    "AMD: OpenCL": (AMD, {"GPU_DEVICE_ORDINAL": "1,0"}, "6 5"),
    "AMD: none": (AMD, {"ROCR_VISIBLE_DEVICES": ""}, ""),
    "Intel": ((*INTEL, gpu(7, "Intel", 8)), {"ZE_AFFINITY_MASK": "1"}, "7"),
    "Intel: parts": ((*INTEL, gpu(7, "Intel", 8)), {"ZE_AFFINITY_MASK": "1.0,1.1"}, "7"),
    "HTCondor": (FOUR, {"_CONDOR_AssignedGPUs": "CUDA2,CUDA0"}, "3 1"),
    "HTCondor: the beginning of a UUID": (FOUR, {"_CONDOR_AssignedGPUs": "GPU-00000003"}, "3"),
    "HTCondor, and CUDA says the same": (
        FOUR,
        {"_CONDOR_AssignedGPUs": "CUDA1", "CUDA_VISIBLE_DEVICES": "1"},
        "2",
    ),
    "HTCondor gives none": (FOUR, {"CUDA_VISIBLE_DEVICES": "10000"}, ""),
    "nothing here": ((), {"CUDA_VISIBLE_DEVICES": "0"}, ""),
}


@pytest.mark.parametrize(("gpus", "environ", "given_to_job"), CASES.values(), ids=CASES)
def test_each_job_has_the_gpus_that_it_was_given(
    gpus: tuple[Gpu, ...], environ: dict[str, str], given_to_job: str
) -> None:
    found = allocation.allocate(environ, gpus)
    assert " ".join(str(int(each.address[5:7], 16)) for each in found.gpus) == given_to_job
    assert set(environ) <= set(JOB_VARIABLES)
    decided = [name for name in environ if f"{name}={environ[name]}" in found.why]
    assert bool(decided) is (found.why != "")


def test_torque_gives_gpus_in_a_file() -> None:
    found = allocation.allocate({"PBS_GPUFILE": "/spool/gpus"}, FOUR, pbs=("2",))
    assert str(found) == "0000:03:00.0 (PBS_GPUFILE=/spool/gpus)"
    assert allocation.allocate({"PBS_GPUFILE": "x", "CUDA_VISIBLE_DEVICES": "0"}, FOUR, pbs=("2",)).gpus == FOUR[:1]
    assert allocation.allocate({"PBS_GPUFILE": "x"}, FOUR).why == ""


def test_vulkan_of_mesa_is_told_the_model() -> None:
    """Unless there are two of it."""
    one, two = (each.replace(model=f"1002:73b{number}") for number, each in enumerate(AMD))
    assert allocation.variables(allocation.Allocation((two,), "x"), (one, two))["MESA_VK_DEVICE_SELECT"] == "1002:73b1"
    same = two.replace(model=one.model)
    assert "MESA_VK_DEVICE_SELECT" not in allocation.variables(allocation.Allocation((same,), "x"), (one, same))


@pytest.mark.parametrize("asked", ["3", "0000:03:00.0", "03:00.0", UUID, UUID.upper()])
def test_a_gpu_can_be_named(asked: str) -> None:
    """Whatever the variables say."""
    found = allocation.allocate({"CUDA_VISIBLE_DEVICES": ""}, ALL, asked)
    assert found == allocation.Allocation((FOUR[2],), f"--gpu {asked}")
    assert str(found) == f"0000:03:00.0 (--gpu {asked})"


def test_no_gpu_can_be_asked_for() -> None:
    found = allocation.allocate({}, ALL, "none")
    assert (found.gpus, str(found)) == ((), "none (--gpu none)")


def test_a_gpu_that_is_not_there_is_refused() -> None:
    for asked in "7", "GPU-00000009-aaaa", "09:00.0":
        with pytest.raises(LaunchError, match=f"there is no GPU {asked}") as raised:
            allocation.allocate({}, ALL, asked)
        assert str(FOUR[0]) in raised.value.hint
    with pytest.raises(LaunchError, match="GPU 0 can't be used"):
        allocation.allocate({}, [gpu(1, "AMD", 0, usable=False)], "0")


HOST = HostCapabilities(VirtualGl("/opt/VirtualGL/lib64"), ("/dev/a", "/dev/b"), ":0", nvidia=True)


def virtualgl_on(host: HostCapabilities) -> list[str]:
    return [each.detail for each in candidates.candidates(host, OpenGLRequest()) if each.name == "virtualgl"]


@pytest.mark.parametrize(
    ("environ", "virtualgl", "nvidia", "variables"),
    [
        ({}, ["on egl", "on :0"], True, {}),
        ({"CUDA_VISIBLE_DEVICES": "2"}, ["on /dev/dri/card1", "on :0"], True, {"MUJOCO": "2", "VTK": "2"}),
        ({"CUDA_VISIBLE_DEVICES": "", "ROCR_VISIBLE_DEVICES": "", "ZE_AFFINITY_MASK": ""}, [], False, {}),
        (
            {"ROCR_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": ""},
            ["on /dev/dri/card6", "on :0"],
            False,
            {"MUJOCO": "6", "VTK": "6", "DRI_PRIME": "pci-0000_06_00_0"},
        ),
    ],
    ids=["no variable", "CUDA", "none", "AMD"],
)
def test_the_gpu_of_a_job_is_the_one_that_is_used(
    environ: dict[str, str], virtualgl: list[str], nvidia: bool, variables: dict[str, str]
) -> None:
    """By VirtualGL, and by programs that draw through EGL or Mesa: EGL has NVIDIA's first."""
    found = allocation.allocate(environ, ALL)
    host = allocation.limit(HOST, found, ALL, asked=False)
    assert (virtualgl_on(host), host.nvidia) == (virtualgl, nvidia)
    names = {"MUJOCO": "MUJOCO_EGL_DEVICE_ID", "VTK": "VTK_DEFAULT_EGL_DEVICE_INDEX"}
    assert allocation.variables(found, ALL) == {names.get(name, name): value for name, value in variables.items()}


def test_two_jobs_on_one_machine_use_two_gpus() -> None:
    """Nor does one have the cached result of the other."""
    hosts = [
        allocation.limit(HOST, allocation.allocate({"SLURM_STEP_GPUS": number}, FOUR), FOUR, asked=False)
        for number in "01"
    ]
    assert [virtualgl_on(host)[0] for host in hosts] == ["on /dev/dri/card0", "on /dev/dri/card1"]
    assert repr(hosts[0]) != repr(hosts[1])


def test_a_gpu_without_a_card_is_named_by_its_place_among_egl_devices() -> None:
    """As in NVIDIA's containers."""
    gpus = (*INTEL, FOUR[0], FOUR[1].replace(names=()))
    limited = allocation.limit(HOST, allocation.Allocation((gpus[2],), "x"), gpus, asked=False)
    assert virtualgl_on(limited)[0] == "on egl1"


def test_the_only_gpu_needs_no_name() -> None:
    found = allocation.allocate({"CUDA_VISIBLE_DEVICES": "0"}, FOUR[:1])
    assert virtualgl_on(allocation.limit(HOST, found, FOUR[:1], asked=False)) == ["on egl", "on :0"]


def test_an_option_comes_before_vgl_display_and_variables_do_not() -> None:
    host = HOST.replace(user={"VGL_DISPLAY": "egl7", "VGL_LOGO": "1"})
    found = allocation.Allocation((AMD[0],), "x")
    assert virtualgl_on(allocation.limit(host, found, ALL, asked=False)) == ["on egl7"]
    limited = allocation.limit(host, found, ALL, asked=True)
    assert virtualgl_on(limited)[0] == "on /dev/dri/card5"
    assert limited.user == {"VGL_LOGO": "1"}


@given(st.dictionaries(st.sampled_from(JOB_VARIABLES), st.text("0123456789,.-GPUMI/ anoe", max_size=12)))
def test_whatever_variables_say_no_gpu_is_made_up(environ: dict[str, str]) -> None:
    found = allocation.allocate(environ, ALL)
    assert len({each.address for each in found.gpus}) == len(found.gpus)
    assert set(map(str, found.gpus)) <= set(map(str, ALL))
    assert set(allocation.variables(found, ALL)) <= {
        *("MUJOCO_EGL_DEVICE_ID", "VTK_DEFAULT_EGL_DEVICE_INDEX", "DRI_PRIME")
    }


@needs_namespaces
@pytest.mark.parametrize(
    ("options", "variables", "numbers"),
    [
        ([], {"CUDA_VISIBLE_DEVICES": "1"}, "1 1"),
        ([], {"CUDA_VISIBLE_DEVICES": "1", "MUJOCO_EGL_DEVICE_ID": "7"}, "7 1"),
        (["--gpu", "0"], {"CUDA_VISIBLE_DEVICES": "1", "MUJOCO_EGL_DEVICE_ID": "7"}, "0 0"),
        (["--gpu", "none"], {"CUDA_VISIBLE_DEVICES": "1"}, "- -"),
        ([], {}, "- -"),
    ],
    ids=["CUDA", "the user's own", "an option", "none", "nothing"],
)
def test_a_program_is_told_its_gpu(options: list[str], variables: dict[str, str], numbers: str, tmp_path: Path) -> None:
    """The device files are only files: nothing can draw on them."""
    names = (*JOB_VARIABLES, "MUJOCO_EGL_DEVICE_ID", "VTK_DEFAULT_EGL_DEVICE_INDEX")
    environ = {**{name: value for name, value in os.environ.items() if name not in names}, **variables}
    setup = with_device_files(tmp_path, "nvidia0", "nvidia1")
    tell = 'echo "${MUJOCO_EGL_DEVICE_ID--} ${VTK_DEFAULT_EGL_DEVICE_INDEX--}"'
    words = ("exec", "--gl", "none", *options, "sh", "-c", tell)
    output = in_namespaces(ANAHEADLESS, *words, setup=setup, env=environ)
    assert (output.returncode, output.stdout, output.stderr) == (0, f"{numbers}\n", "")


def test_no_gpu_is_software_and_nothing_else() -> None:
    output = run("run", "-v", "--gpu", "none", "-c", "import os; print(os.environ['ANAHEADLESS_GL_HARDWARE'])")
    assert (output.returncode, output.stdout) == (0, "0\n")
    assert "anaheadless: GPU: none (--gpu none)\n" in output.stderr
    assert_refused(run("run", "--gpu", "none", "--gl", "hardware", "x.py"), 2, "contradict each other")
    assert_refused(run("run", "--gpu", "gold", "x.py"), 2, "'gold' is not auto, none, a number, a PCI address")
    assert_refused(run("run", "--gpu", "999", "-c", "pass"), 125, "there is no GPU 999", "anaheadless doctor")
