"""The GPUs of this machine, as /dev, /sys and /proc show them: no library is loaded.

A batch system may forbid devices in a job's cgroup, which only shows when they are opened, so they are, for a moment.

Sources: the kernel's "Linux GPU Driver Developer's Guide" (card and render nodes), and the README of NVIDIA's driver
(/proc/driver/nvidia).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from anaheadless.opengl.hardware import NODES, node_paths
from anaheadless.system.light_stdlib import Record

_VENDORS = {
    "0x1002": "AMD",
    "0x10de": "NVIDIA",
    "0x8086": "Intel",
    "0x1af4": "virtio",
    "0x15ad": "VMware",
    "0x1a03": "ASPEED",
    "0x102b": "Matrox",
    "0x1414": "Microsoft",
    "0x1234": "QEMU",
    "0x1013": "Cirrus",
}


class Node(Record):
    """A device file of a GPU.

    :param path: such as ``/dev/dri/card0``, ``/dev/dri/renderD128`` or ``/dev/nvidia0``.
    :param mode: its permissions; *gid* is its group.
    :param accessible: whether this process may read and write it.
    :param forbidden: whether its permissions allow that, but its cgroup does not.
    """

    path: str
    mode: int
    gid: int
    accessible: bool
    forbidden: bool = False

    @property
    def name(self) -> str:
        return os.path.basename(self.path)


class Gpu(Record):
    """A GPU, and the device files that belong to it.

    :param address: its PCI address, else its name in /sys; empty if /sys does not tell.
    :param vendor: the vendor's name, or the number that /sys has; empty if /sys does not tell.
    :param driver: the kernel's driver; empty if /sys does not tell.
    :param uuid: NVIDIA's name for it, ``GPU-…``; else empty.
    :param draws: whether it can draw, or only show pictures; None if /sys does not tell.
    :param names: the names of all its DRM nodes, even of those that /dev lacks, as in many containers.
    :param model: the PCI numbers of its vendor and model, as ``1002:73bf``; empty if /sys does not tell.
    """

    address: str
    vendor: str
    driver: str
    uuid: str
    draws: bool | None
    names: tuple[str, ...]
    nodes: tuple[Node, ...]
    model: str = ""

    @property
    def usable(self) -> bool:
        """Tell whether this process may use it to draw."""
        return self.draws is not False and any(node.accessible for node in self.nodes)

    def __str__(self) -> str:
        parts = [self.vendor or "unknown vendor", f"driver {self.driver}" if self.driver else "unknown driver"]
        files = ", ".join(node.path for node in self.nodes)
        return f"{' '.join(filter(None, ['GPU', self.address]))}: {', '.join(parts)}: {files}"


def find_gpus(root: str = "/") -> list[Gpu]:
    """List the GPUs that have device files here, in the order of their PCI addresses."""
    return group_nodes(find_nodes(root), root)


def find_nodes(root: str = "/") -> list[Node]:
    """List the device files of GPUs, with their permissions."""
    found = []
    for path in node_paths(root):
        with suppress(OSError):  # it is gone, or a link to nowhere
            status = os.stat(path)
            mode = stat.S_IMODE(status.st_mode)
            permitted = os.access(path, os.R_OK | os.W_OK)  # which knows of access control lists, too
            forbidden = permitted and _is_forbidden(path)
            found.append(Node(path, mode, status.st_gid, permitted and not forbidden, forbidden))
    return found


def _is_forbidden(path: str) -> bool:
    """Tell whether a cgroup keeps this process from a device file that its permissions open to it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
    except OSError as error:
        return error.errno == errno.EPERM  # what else may be wrong, the driver knows
    return False


def group_nodes(nodes: Iterable[Node], root: str = "/") -> list[Gpu]:
    """Group *nodes* by the GPU that they belong to, as /sys and /proc below *root* tell it."""
    nvidia = _nvidia_gpus(root)
    groups: dict[str, list[Node]] = {}
    folders: dict[str, str] = {}
    for node in sorted(nodes, key=lambda node: node.path):
        folder, address = _place(node, nvidia, root)
        key = address or node.path  # without /sys, nobody knows what belongs together
        groups.setdefault(key, []).append(node)
        folders.setdefault(key, folder)
    gpus = [_gpu(key, folders[key], group, nvidia) for key, group in groups.items()]
    return sorted(gpus, key=lambda gpu: (gpu.address == "", gpu.address, gpu.nodes[0].path))


def _place(node: Node, nvidia: Mapping[str, tuple[str, str]], root: str) -> tuple[str, str]:
    """Return the folder in /sys and the address of the GPU of *node*; empty where they are not known."""
    if node.name.startswith("nvidia"):
        address, _ = nvidia.get(node.name, ("", ""))
        return os.path.join(root, "sys/bus/pci/devices", address) if address else "", address
    link = os.path.join(root, "sys/class/drm", node.name, "device")
    if not os.path.isdir(link):
        return "", ""
    folder = os.path.realpath(link)
    above, name = os.path.split(folder)
    # A virtio device has a folder of its own, in that of its PCI device.
    return folder, os.path.basename(above) if name.startswith("virtio") else name


def _gpu(key: str, folder: str, nodes: Sequence[Node], nvidia: Mapping[str, tuple[str, str]]) -> Gpu:
    """Describe the GPU of *nodes*; *key* is its address, or the path of its only node if that is not known."""
    vendor = _read(os.path.join(folder, "vendor")).strip() if folder else ""
    model = _read(os.path.join(folder, "device")).strip() if folder else ""
    driver = os.path.join(folder, "driver")
    names: list[str] = []
    with suppress(OSError):
        names = sorted(filter(NODES["dev/dri"].fullmatch, os.listdir(os.path.join(folder, "drm")))) if folder else []
    is_nvidia = any(node.name.startswith("nvidia") for node in nodes)
    is_wsl = nodes[0].name == "dxg"  # the GPU of Windows, of which /sys knows nothing
    draws = is_nvidia or is_wsl or any(name.startswith("render") for name in (*names, *(node.name for node in nodes)))
    return Gpu(
        address="" if key == nodes[0].path else key,
        vendor=_VENDORS.get(vendor, vendor) or ("NVIDIA" if is_nvidia else "Microsoft" if is_wsl else ""),
        driver=os.path.basename(os.path.realpath(driver)) if folder and os.path.exists(driver) else "dxg" * is_wsl,
        uuid=next((nvidia[node.name][1] for node in nodes if node.name in nvidia), ""),
        draws=True if draws else False if names else None,
        names=tuple(names),
        nodes=tuple(nodes),
        model=":".join(number.partition("x")[2] for number in (vendor, model)) if vendor and model else "",
    )


def _nvidia_gpus(root: str) -> dict[str, tuple[str, str]]:
    """Return the PCI address and the UUID of each of NVIDIA's device files, by its name."""
    folder = os.path.join(root, "proc/driver/nvidia/gpus")
    found = {}
    with suppress(OSError):
        for address in os.listdir(folder):
            text = _read(os.path.join(folder, address, "information"))
            said = dict(re.findall(r"^([\w ]+):[ \t]*(.*?)[ \t]*$", text, re.MULTILINE))
            if said.get("Device Minor", "").isdecimal():
                found[f"nvidia{said['Device Minor']}"] = (address.lower(), said.get("GPU UUID", ""))
    return found


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""


def pbs_gpus(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the numbers of the GPUs that Torque's PBS_GPUFILE names on this machine: ``NODE-gpuN`` on each line."""
    node = os.uname().nodename.partition(".")[0]
    lines = _read(environ["PBS_GPUFILE"]).split() if "PBS_GPUFILE" in environ else []
    found = (re.fullmatch(r"([^.]+)(?:\..*)?-gpu(\d+)", line) for line in lines)
    return tuple(match[2] for match in found if match and match[1] == node)


def own_groups() -> set[int]:
    return {os.getegid(), *os.getgroups()}


def group_name(gid: int) -> str:
    """Return the name of a group; its number if it has no name here, as in many containers."""
    import grp  # only here: a launch does not need it

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def obstacles(gpu: Gpu, groups: Collection[int], name_of: Callable[[int], str] = group_name) -> Iterator[str]:
    """Yield why this process may not use *gpu*, a sentence for each device file with another remedy.

    :param groups: those that this process is in.
    """
    if gpu.draws is False:
        yield f"{gpu.driver or gpu.address} only shows pictures, and can't draw."
        return
    if gpu.usable:
        return
    seen: set[int] = set()
    if any(node.forbidden for node in gpu.nodes):
        yield f"{gpu.nodes[-1].path} is not for this job: its cgroup forbids it, as batch systems and containers do."
        return
    for node in reversed(gpu.nodes):  # the render node first: it is all that drawing needs
        by_group = node.mode & 0o060 == 0o060 and node.gid not in groups
        if by_group and node.gid not in seen:
            group = name_of(node.gid)
            yield (
                f"Only the group {group} may open {node.path}: join it (usermod -aG {group} USER), and log in again; "
                f"in a container, use --group-add {node.gid}."
            )
        elif not by_group and not seen:
            yield f"{node.path} has mode {node.mode:04o}, which keeps you out: ask whoever set it up."
        seen.add(node.gid)


def why_none(gpus: Sequence[Gpu], groups: Collection[int], name_of: Callable[[int], str] = group_name) -> str:
    """Say why none of *gpus* can be used, or nothing if one can."""
    if any(gpu.usable for gpu in gpus):
        return ""
    if not gpus:
        return (
            "There is no GPU here: neither /dev/dri nor /dev/nvidia0. A container has to be given one (docker run "
            "--device /dev/dri, or --gpus all)."
        )
    return " ".join(sentence for gpu in gpus for sentence in obstacles(gpu, groups, name_of))


def egl_numbers(gpu: Gpu, files: Sequence[str | None]) -> list[int]:
    """Return the numbers of the EGL devices that are *gpu*; *files* are those that EGL names, in its order."""
    names = {*gpu.names, *(node.name for node in gpu.nodes)}
    return [number for number, file in enumerate(files) if file and os.path.basename(file) in names]
