"""The GPU that a job was given: what batch systems, containers and users say in variables, and what follows from it.

All functions here are pure. Sources: NVIDIA's "CUDA C++ Programming Guide" (CUDA_VISIBLE_DEVICES) and container toolkit
(NVIDIA_VISIBLE_DEVICES), Slurm's srun(1) and "Generic Resource (GRES) Scheduling", HTCondor's manual
(_CONDOR_AssignedGPUs), Torque's administrator guide (PBS_GPUFILE), AMD's ROCm documentation, Intel's Level Zero
specification, Mesa's documentation of its environment variables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anaheadless.errors import LaunchError
from anaheadless.opengl.devices import Gpu
from anaheadless.opengl.hardware import HostCapabilities
from anaheadless.system.light_stdlib import Record


class Allocation(Record):
    """The GPUs that may be used.

    :param gpus: the first one is to be used.
    :param why: what has decided that; empty if nothing has, and all GPUs may be used.
    """

    gpus: tuple[Gpu, ...]
    why: str = ""

    def __str__(self) -> str:
        name = next((gpu.address or gpu.nodes[0].path for gpu in self.gpus), "none")
        return f"{name} ({self.why})" if self.why else ""


def allocate(
    environ: Mapping[str, str], gpus: Sequence[Gpu], asked: str = "auto", pbs: Sequence[str] = ()
) -> Allocation:
    """Decide which of *gpus* may be used.

    :param asked: the value of ``--gpu``.
    :param pbs: the numbers that PBS_GPUFILE has for this machine.
    :raises LaunchError: the GPU that was asked for is not there, or can't be used.
    """
    if asked == "none":
        return Allocation((), "--gpu none")
    if asked != "auto":
        return Allocation((_asked_gpu(gpus, asked),), f"--gpu {asked}")
    usable = [gpu for gpu in gpus if gpu.usable]
    decided: list[Gpu] = []
    others: list[Gpu] = []
    reasons = []
    for vendor, decide in (("NVIDIA", _of_nvidia), ("AMD", _of_amd), ("Intel", _of_intel)):
        own = [gpu for gpu in usable if gpu.vendor == vendor]
        allowed, why = decide(environ, own, pbs) if own else (own, "")
        (decided if why else others).extend(allowed)
        reasons += [why] if why else []
    others += [gpu for gpu in usable if gpu.vendor not in ("NVIDIA", "AMD", "Intel")]
    # A GPU that was named comes before one that nobody has spoken of, such as that of the mainboard.
    return Allocation((*decided, *others), ", ".join(reasons))


def _asked_gpu(gpus: Sequence[Gpu], asked: str) -> Gpu:
    if asked.isdecimal():
        found = list(gpus[int(asked) : int(asked) + 1])
    else:
        found = [gpu for gpu in gpus if asked.lower() in (gpu.address, gpu.address.partition(":")[2], gpu.uuid.lower())]
    if len(found) != 1:
        listed = "; ".join(f"{number}: {gpu}" for number, gpu in enumerate(gpus)) or "no GPU at all"
        raise LaunchError(f"there is no GPU {asked}", hint=f"There is {listed}. See anaheadless doctor.")
    if not found[0].usable:
        raise LaunchError(f"GPU {asked} can't be used: {found[0]}", hint="anaheadless doctor says why.")
    return found[0]


def _of_nvidia(environ: Mapping[str, str], gpus: Sequence[Gpu], pbs: Sequence[str]) -> tuple[Sequence[Gpu], str]:
    allowed, reasons = gpus, []
    visible = environ.get("NVIDIA_VISIBLE_DEVICES", "")
    words = visible.split(",")
    # The numbers are those of the host: in a container that has no other GPUs, they mean nothing.
    if visible == "none" or (visible not in ("", "all", "void") and len(words) < len(gpus)):
        allowed = [] if visible == "none" else _picked(words, gpus)
        reasons.append(f"NVIDIA_VISIBLE_DEVICES={visible}")
    slurm, numbers = _of_slurm(environ)
    if numbers:
        files = {f"nvidia{number}" for number in numbers}
        by_file = [gpu for gpu in allowed if any(node.name in files for node in gpu.nodes)]
        allowed = by_file or allowed  # a container may have other numbers
        reasons.append(slurm)
    cuda = environ.get("CUDA_VISIBLE_DEVICES")
    if cuda is not None:
        words = [word.strip() for word in cuda.split(",")]
        # Slurm counts from 0 again where it hides the other devices (ConstrainDevices), but not where it does not.
        everywhere = bool(numbers) and all(_is_number(word) and int(word) in numbers for word in words)
        files = {f"nvidia{word}" for word in words}
        if everywhere and any(node.name in files for gpu in allowed for node in gpu.nodes):
            allowed = [gpu for gpu in allowed if any(node.name in files for node in gpu.nodes)]
        else:
            allowed = _picked(words, allowed)
        reasons.append(f"CUDA_VISIBLE_DEVICES={cuda}")
    elif condor := environ.get("_CONDOR_AssignedGPUs"):  # CUDA0, or a part of a UUID; most often CUDA's is set, too
        allowed = _picked([word.strip().removeprefix("CUDA") for word in condor.split(",")], allowed)
        reasons.append(f"_CONDOR_AssignedGPUs={condor}")
    elif pbs:
        allowed = _picked(pbs, allowed)
        reasons.append(f"PBS_GPUFILE={environ['PBS_GPUFILE']}")
    return allowed, ", ".join(reasons)


def _of_amd(environ: Mapping[str, str], gpus: Sequence[Gpu], _: Sequence[str]) -> tuple[Sequence[Gpu], str]:
    for name in "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL":
        if name in environ:
            return _picked(environ[name].split(","), gpus), f"{name}={environ[name]}"
    slurm, numbers = _of_slurm(environ)
    return (_picked(list(map(str, numbers)), gpus), slurm) if numbers else (gpus, "")


def _of_intel(environ: Mapping[str, str], gpus: Sequence[Gpu], _: Sequence[str]) -> tuple[Sequence[Gpu], str]:
    mask = environ.get("ZE_AFFINITY_MASK")
    if mask is None:
        return gpus, ""
    # 1.0 is a part of device 1.
    return _picked([word.partition(".")[0] for word in mask.split(",")], gpus), f"ZE_AFFINITY_MASK={mask}"


def _of_slurm(environ: Mapping[str, str]) -> tuple[str, list[int]]:
    """Return what Slurm says of a step or a job, and the numbers in it, which are those of the whole node."""
    for name in "SLURM_STEP_GPUS", "SLURM_JOB_GPUS":
        words = environ.get(name, "").split(",")
        if all(map(_is_number, words)):
            return f"{name}={environ[name]}", list(map(int, words))
    return "", []


def _picked(words: Sequence[str], gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the GPUs that *words* name, by number or UUID; as in CUDA, nothing counts after a wrong word."""
    found: list[Gpu] = []
    for word in map(str.strip, words):
        uuid = word.partition("/")[0].lower()
        if _is_number(word):
            named = list(gpus[int(word) : int(word) + 1])
        elif uuid.startswith("gpu-") and not any(gpu.uuid for gpu in gpus):
            return list(gpus)  # nothing here tells their UUIDs
        else:
            named = [gpu for gpu in gpus if uuid.startswith("gpu-") and gpu.uuid.lower().startswith(uuid)]
        if len(named) != 1:
            break
        found += [gpu for gpu in named if gpu not in found]
    return found


def _is_number(word: str) -> bool:
    return word.isdecimal() and len(word) < 6  # Python refuses to read thousands of digits


def limit(host: HostCapabilities, allocation: Allocation, gpus: Sequence[Gpu], *, asked: bool) -> HostCapabilities:
    """Return *host* as if it had no GPU but the first of *allocation*.

    :param gpus: all GPUs here.
    :param asked: whether ``--gpu`` has named it, so that it comes before VGL_DISPLAY.
    """
    if not allocation.why:
        return host
    first = allocation.gpus[:1]
    # Where there is only one, VirtualGL need not be told which: not every driver knows its own by a file.
    is_only = sum(gpu.usable for gpu in gpus) == 1
    user = {name: value for name, value in host.user.items() if not (asked and name == "VGL_DISPLAY")}
    return host.replace(
        gpus=tuple(node.path for gpu in first for node in gpu.nodes if node.accessible),
        nvidia=host.nvidia and any(gpu.vendor == "NVIDIA" for gpu in first),
        vgl_device="egl" if is_only else next((_card(gpu) or f"egl{egl_number(gpu, gpus)}" for gpu in first), "egl"),
        # Nobody knows which GPU another X server has, but it is none that this job was given.
        outer_display=host.outer_display if first else None,
        user=user,
    )


def variables(allocation: Allocation, gpus: Sequence[Gpu]) -> dict[str, str]:
    """Return the variables by which programs that draw through EGL, Mesa or Vulkan take the first GPU of *allocation*.

    :param gpus: all GPUs here.
    """
    if not allocation.why or not allocation.gpus:
        return {}
    first = allocation.gpus[0]
    number = str(egl_number(first, gpus))
    found = {"MUJOCO_EGL_DEVICE_ID": number, "VTK_DEFAULT_EGL_DEVICE_INDEX": number}
    if not _is_nvidias(first) and first.address.count(":") == 2:
        found["DRI_PRIME"] = "pci-" + first.address.replace(":", "_").replace(".", "_")
    # It names a model: between two of the same, only DRI_PRIME can choose.
    if first.model and sum(gpu.model == first.model for gpu in gpus) == 1:
        found["MESA_VK_DEVICE_SELECT"] = first.model
    return found


def egl_number(gpu: Gpu, gpus: Sequence[Gpu]) -> int:
    """Return the number that EGL gives *gpu*: libglvnd asks NVIDIA's library before Mesa's."""
    drawing = [each for each in gpus if each.usable]
    return sorted(drawing, key=lambda each: (not _is_nvidias(each), each.address)).index(gpu)


def _is_nvidias(gpu: Gpu) -> bool:
    """Return whether NVIDIA's own driver has *gpu*."""
    return any(node.name.startswith("nvidia") for node in gpu.nodes)


def _card(gpu: Gpu) -> str:
    """Return the card node by which VirtualGL knows *gpu*, even if it is not in /dev; empty if there is none."""
    names = [*gpu.names, *(node.name for node in gpu.nodes)]
    return next((f"/dev/dri/{name}" for name in names if name.startswith("card")), "")
