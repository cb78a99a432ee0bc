"""Known causes why no GPU draws, in words: what files, device files and variables show of each.

No device is opened, no library is loaded. Sources: the READMEs of NVIDIA's driver and of its container toolkit
(NVIDIA_DRIVER_CAPABILITIES), libglvnd's "EGL ICD enumeration", the Vulkan loader's "Driver interface to the Vulkan
Loader", Microsoft's WSL documentation (/dev/dxg), Mesa's documentation of d3d12, virgl and venus, and VirtualGL#284.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterator, Mapping

from anaheadless.opengl import devices
from anaheadless.opengl.devices import Gpu
from anaheadless.options import INTERFACES
from anaheadless.system.libraries import LIBRARY_FOLDERS
from anaheadless.system.light_stdlib import Record

_WSL_LIBRARIES = "/usr/lib/wsl/lib"
# Where the files are that name the drivers of EGL and Vulkan, and the package of Mesa's.
_ICD_FOLDERS = {
    "egl": ("/etc/glvnd/egl_vendor.d", "/usr/share/glvnd/egl_vendor.d"),
    "vulkan": ("/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/usr/share/vulkan/icd.d"),
}
_MESA_PACKAGE = {"glx": "libglx-mesa0", "egl": "libegl-mesa0", "vulkan": "mesa-vulkan-drivers"}
_NVIDIA_LIBRARY = {"glx": "libGLX_nvidia.so.0", "egl": "libEGL_nvidia.so.0", "vulkan": "libGLX_nvidia.so.0"}
# With these variables, only the drivers that they name are used.
_ICD_VARIABLES = {
    "egl": ("__EGL_VENDOR_LIBRARY_FILENAMES", "__EGL_VENDOR_LIBRARY_DIRS"),
    "vulkan": ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"),
}


class Machine(Record):
    """A machine whose files are below *root*.

    :param gpus: its GPUs.
    :param groups: those that this process is in.
    """

    gpus: tuple[Gpu, ...]
    environ: Mapping[str, str]
    groups: tuple[int, ...] = ()
    root: str = "/"

    def path(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))

    def has(self, path: str) -> bool:
        return os.path.exists(self.path(path))

    @property
    def has_gpu(self) -> bool:
        return bool(self.gpus) or self.has("/dev/dxg")

    @property
    def is_container(self) -> bool:
        return (
            self.has("/.dockerenv")
            or self.has("/run/.containerenv")
            or any(name in self.environ for name in ("container", "NVIDIA_VISIBLE_DEVICES"))
        )

    @property
    def nvidia(self) -> bool:
        """Tell whether NVIDIA's own driver has a GPU here that this process may use."""
        return any(gpu.usable and any(node.name.startswith("nvidia") for node in gpu.nodes) for gpu in self.gpus)

    def libraries(self, name: str) -> list[str]:
        """Return the libraries whose names begin with *name*."""
        searched = [folder for folder in self.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
        return [path for folder in (*searched, *LIBRARY_FOLDERS) for path in glob.glob(f"{self.path(folder)}/{name}*")]

    def drivers(self, interface: str) -> dict[str, str]:
        """Return the files that name the drivers of EGL or Vulkan, and the library that each names."""
        files = [
            file for folder in _ICD_FOLDERS[interface] for file in sorted(glob.glob(f"{self.path(folder)}/*.json"))
        ]
        return {file: _library_of(file) for file in files}


def this_machine(environ: Mapping[str, str]) -> Machine:
    return Machine(tuple(devices.find_gpus()), environ, tuple(devices.own_groups()))


def why_not(interface: str, machine: Machine) -> list[str]:
    """Say why *interface* (glx, egl or vulkan) draws on no GPU of *machine*, and what to do: a sentence or two each.

    The list is empty if no known cause is seen.
    """
    found = [*_software_asked_for(interface, machine)]
    found += _wsl(machine) if machine.has("/dev/dxg") else _devices(machine)
    if machine.nvidia:
        found += _nvidia(interface, machine)
    found += _nouveau(machine)
    found += _virtio(interface, machine)
    return list(dict.fromkeys((*found, *why_nothing(interface, machine))))


def why_nothing(interface: str, machine: Machine) -> list[str]:
    """Say why *interface* may draw nothing at all, not even in software; as :func:`why_not` does it."""
    return [*_chosen_drivers(interface, machine), *_no_drivers(interface, machine)]


def _software_asked_for(interface: str, machine: Machine) -> Iterator[str]:
    environ = machine.environ
    always = environ.get("LIBGL_ALWAYS_SOFTWARE", "").lower() in ("1", "true", "yes", "y")
    if interface != "vulkan" and (always or environ.get("GALLIUM_DRIVER") in ("llvmpipe", "softpipe")):
        name = "LIBGL_ALWAYS_SOFTWARE" if always else "GALLIUM_DRIVER"
        yield f"{name}={environ[name]} is set, with which Mesa draws in software: unset it."


def _chosen_drivers(interface: str, machine: Machine) -> Iterator[str]:
    for name in _ICD_VARIABLES.get(interface, ()):
        if name in machine.environ:
            yield f"{name} is set, so that {INTERFACES[interface]} uses no other drivers than it names: unset it."


def _devices(machine: Machine) -> Iterator[str]:
    why = devices.why_none(machine.gpus, machine.groups)
    if why:
        yield why


def _wsl(machine: Machine) -> Iterator[str]:
    """Yield what keeps Mesa's d3d12 driver from Windows' GPU."""
    if not machine.has(f"{_WSL_LIBRARIES}/libd3d12core.so"):
        how = (
            "start the container with --device /dev/dxg -v /usr/lib/wsl:/usr/lib/wsl -e "
            f"LD_LIBRARY_PATH={_WSL_LIBRARIES}"
            if machine.is_container
            else "update the GPU's driver in Windows, then WSL (wsl --update)"
        )
        yield f"This is WSL, but Windows' libraries for its GPU ({_WSL_LIBRARIES}/libd3d12core.so) are missing: {how}."
    elif not os.access(machine.path("/dev/dxg"), os.R_OK | os.W_OK):
        yield "This is WSL, but you may not open /dev/dxg: ask whoever set it up."
    elif machine.environ.get("GALLIUM_DRIVER") != "d3d12":
        yield (
            "This is WSL, where Mesa reaches the GPU of Windows through its driver d3d12: set GALLIUM_DRIVER=d3d12. If "
            "that fails, this Mesa has no such driver: install a newer one."
        )


def _nvidia(interface: str, machine: Machine) -> Iterator[str]:
    library = _NVIDIA_LIBRARY[interface]
    if not machine.libraries(library):
        asked = machine.environ.get("NVIDIA_DRIVER_CAPABILITIES", "")
        given = {word.strip() for word in asked.split(",")}
        if not machine.is_container:
            yield (
                f"NVIDIA's driver is there, but not its {library}: install its OpenGL libraries, too (Debian: "
                "nvidia-driver-libs; Ubuntu: libnvidia-gl-VERSION)."
            )
        elif given & {"graphics", "all"}:
            yield (
                f"The container was given NVIDIA's GPU, but its {library} is missing, although "
                f"NVIDIA_DRIVER_CAPABILITIES={asked} asks for it: the host's driver has no OpenGL libraries (as a "
                "headless one), or the container was not started by NVIDIA's container toolkit."
            )
        else:
            yield (
                f"The container was given NVIDIA's GPU without its graphics libraries ({library} is missing): start it "
                f"with -e NVIDIA_DRIVER_CAPABILITIES=all (it is {asked or 'not set, which means compute,utility'})."
            )
    elif interface != "glx" and not any("nvidia" in name for name in machine.drivers(interface).values()):
        folder = _ICD_FOLDERS[interface][-1]
        file = f"{folder}/{'10_nvidia' if interface == 'egl' else 'nvidia_icd'}.json"
        more = "" if interface == "egl" else ', "api_version": "1.3"'
        text = f'{{"file_format_version": "1.0.0", "ICD": {{"library_path": "{library}"{more}}}}}'
        yield (
            f"{INTERFACES[interface]} does not know NVIDIA's driver, for no file in {folder} names it. Put this into "
            f"{file}: {text}"
        )
    module, versions = _module_version(machine), _library_versions(machine)
    if module and versions and module not in versions:
        yield (
            f"NVIDIA's kernel module has version {module}, and its libraries have {', '.join(versions)}: "
            + (
                "the libraries in the image must go; the container toolkit brings those of the host."
                if machine.is_container
                else "restart the machine, or install the same version of both."
            )
        )


def _module_version(machine: Machine) -> str:
    version = _read(machine.path("/sys/module/nvidia/version")).strip()
    told = re.search(r"Kernel Module(?: for \S+)?\s+(\d[\d.]*)", _read(machine.path("/proc/driver/nvidia/version")))
    return version or (told[1] if told else "")


def _library_versions(machine: Machine) -> list[str]:
    names = map(os.path.basename, machine.libraries("libGLX_nvidia.so."))
    found = (re.fullmatch(r"libGLX_nvidia\.so\.(\d+\.[\d.]+)", name) for name in names)
    return sorted({match[1] for match in found if match})


def _nouveau(machine: Machine) -> Iterator[str]:
    if any(gpu.driver == "nouveau" for gpu in machine.gpus):
        yield (
            "An NVIDIA GPU has the kernel's driver nouveau, which NVIDIA's libraries can't use, and with which newer "
            "GPUs are slow or don't draw: install NVIDIA's driver, which replaces it."
        )


def _virtio(interface: str, machine: Machine) -> Iterator[str]:
    if not any(gpu.usable and gpu.vendor == "virtio" for gpu in machine.gpus):
        return
    if interface != "vulkan":
        yield (
            "This is a virtual machine, whose GPU (virtio) draws only if the host lends it one: with QEMU, -device "
            "virtio-vga-gl and -display egl-headless; with libvirt, <acceleration accel3d='yes'/>."
        )
        return
    if not any("virtio" in name for name in machine.drivers(interface).values()):
        yield "Mesa's Vulkan driver for virtual machines (venus) is not installed (Debian: mesa-vulkan-drivers)."
    yield (
        "This is a virtual machine, whose GPU (virtio) has Vulkan only if the host lends it: with QEMU 9.2 or newer, "
        "-device virtio-vga-gl,blob=on,venus=on,hostmem=4G."
    )


def _no_drivers(interface: str, machine: Machine) -> Iterator[str]:
    title, package = INTERFACES[interface], _MESA_PACKAGE[interface]
    if interface == "glx":
        if not machine.libraries("libGLX_"):
            yield f"There is no driver's library for GLX (libGLX_*.so.0): install one (Debian: {package})."
        return
    drivers = machine.drivers(interface)
    if not drivers:
        folders = " and ".join(_ICD_FOLDERS[interface])
        yield f"{title} knows no driver, for {folders} are empty: install one (Debian: {package})."
    for file, library in drivers.items():
        if not library or not (machine.has(library) if library.startswith("/") else machine.libraries(library)):
            yield f"{file} names the driver {library or '?'}, which is not there: install it, or remove the file."


def no_3d_server(messages: str, root: str = "/") -> str:
    """Say why VirtualGL finds no 3D X server, if the display manager can't start one.

    :param messages: what VirtualGL has said.
    """
    machine = Machine((), {}, root=root)
    gdm = any(machine.has(f"/usr/{folder}/{name}") for folder in ("sbin", "bin") for name in ("gdm", "gdm3"))
    # GDM 49 and newer have none: they serve Wayland alone.
    places = ("libexec", "lib/gdm3", "lib/gdm", "lib")
    serves_x = any(machine.has(f"/usr/{place}/gdm-x-session") for place in places)
    if not gdm or serves_x or "Could not open display" not in messages:
        return ""
    return (
        "The display manager here, GDM, starts no X server (from version 49 on), so that VirtualGL finds none to "
        "render on: use --vgl-display egl, or another display manager, such as LightDM."
    )


def _library_of(file: str) -> str:
    try:
        with open(file) as text:
            library = json.load(text)["ICD"]["library_path"]
        return library if isinstance(library, str) else ""
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""
