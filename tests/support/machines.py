"""Machines with GPUs that are made up of files: their /dev, /sys and /proc, and what is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from anaheadless.opengl import devices
from anaheadless.opengl.devices import Gpu

VIDEO, RENDER = 44, 109
MINE = (1000, VIDEO, RENDER)


@dataclass(frozen=True)
class Machine:
    """A machine, and what is found on it.

    :param sys: what /sys has: a device for each line, as ``ADDRESS VENDOR DRIVER NAME...``.
    :param dev: what /dev has, as ``NAME=MODE:GROUP...``; with a ``+`` behind it, an access control list lets us in.
    :param found: a line for each GPU, which begins with ``ok`` if it can be used, and a line for each obstacle.
    :param groups: those that the user is in.
    :param nvidia: what NVIDIA's driver has in /proc: ``ADDRESS NAME UUID`` on each line.
    :param files: other files, by their paths.
    """

    sys: str
    dev: str
    found: str
    groups: tuple[int, ...] = MINE
    nvidia: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


def place(name: str) -> str:
    return f"dev/{name}" if name.startswith(("nvidia", "dxg")) else f"dev/dri/{name}"


def make(machine: Machine, root: Path) -> list[Gpu]:
    """Make the files of *machine*, and find its GPUs."""
    root.mkdir(exist_ok=True)
    for line in machine.sys.splitlines():
        address, vendor, driver, *names = line.split()
        folder = root / "sys" / "devices" / "pci0000:00" / address
        for name in names:
            (folder / "drm" / name).mkdir(parents=True)
            (root / "sys" / "class" / "drm" / name).mkdir(parents=True)
            (root / "sys" / "class" / "drm" / name / "device").symlink_to(folder)
        if vendor != "-":
            (folder / "vendor").write_text(f"{vendor}\n")
        if driver != "-":
            (root / "sys" / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(root / "sys" / "drivers" / driver)
        bus = root / "sys" / "bus" / "pci" / "devices"
        bus.mkdir(parents=True, exist_ok=True)
        (bus / address.partition("/")[0]).symlink_to(
            root / "sys" / "devices" / "pci0000:00" / address.partition("/")[0]
        )
    for line in machine.nvidia.splitlines():
        address, name, uuid = line.split()
        folder = root / "proc" / "driver" / "nvidia" / "gpus" / address
        folder.mkdir(parents=True)
        text = (
            f"Model: \t\t NVIDIA A100\nGPU UUID: \t {uuid}\nBus Location: \t {address}\nDevice Minor: \t {name[6:]}\n"
        )
        (folder / "information").write_text(text)
    for name, text in machine.files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    permissions = {}
    for entry in machine.dev.split():
        name, _, rest = entry.partition("=")
        mode, _, gid = rest.rstrip("+").partition(":")
        path = root / place(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        permissions[str(path)] = int(mode, 8), int(gid), rest.endswith("+")
    nodes = []
    for node in devices.find_nodes(str(root)):
        bits, group, is_listed = permissions[node.path]
        accessible = bits & 0o006 == 0o006 or (group in machine.groups and bits & 0o060 == 0o060) or is_listed
        nodes.append(node.replace(mode=bits, gid=group, accessible=accessible))
    return devices.group_nodes(nodes, str(root))
