"""The graphics hardware and OpenGL libraries of this machine, found without loading any."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

from anaheadless.system.libraries import LIBRARY_FOLDERS, find_library, linker_cache, loaded_libraries
from anaheadless.system.light_stdlib import Record
from anaheadless.system.programs import find_program
from anaheadless.x11.display_number import socket_path

NODES = {"dev/dri": re.compile(r"card\d+|renderD\d+"), "dev": re.compile(r"nvidia\d+|dxg")}
# The variables by which batch systems, containers and users say which GPUs a job may use, see allocation.py.
JOB_VARIABLES = (
    *("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS"),
    *("ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK", "_CONDOR_AssignedGPUs", "PBS_GPUFILE"),
)
FAKER_NAME = re.compile(r"lib(dl|ge|vgl|rr)faker[^./]*\.so")


class VirtualGl(Record):
    """An installed VirtualGL.

    :param folder: the folder of its libraries.
    :param faker: ``vglfaker``, or ``rrfaker`` before version 2.4.
    :param in_linker_path: whether ld.so finds the libraries by name.
    """

    folder: str
    faker: str = "vglfaker"
    in_linker_path: bool = True
    vglrun: str | None = None


class HostCapabilities(Record):
    """The capabilities of this machine that the choice of an OpenGL depends on, as far as they are cheap to find.

    :param gpus: accessible device files of GPUs, such as ``/dev/dri/renderD128`` and ``/dev/nvidia0``.
    :param outer_display: the caller's own DISPLAY, if it is a local X server that listens, and not a session's.
    :param nvidia: whether NVIDIA's GLX vendor library is installed.
    :param mesa_vendor: whether Mesa's GLX vendor library is installed, which libglvnd can use.
    :param user: the user's own variables for VirtualGL.
    :param vgl_device: what VirtualGL calls the GPU that it is to render on.
    """

    virtualgl: VirtualGl | None = None
    gpus: tuple[str, ...] = ()
    outer_display: str | None = None
    nvidia: bool = False
    mesa_vendor: bool = False
    user: Mapping[str, str] = MappingProxyType({})
    vgl_device: str = "egl"


class Workarounds(Record):
    """The libraries that may help when nothing has drawn; they take longer to find.

    :param mesa_folder: a folder with a Mesa of its own, see :func:`find_mesa`.
    :param libstdcxx: the system's own libstdc++.
    """

    mesa_folder: str | None = None
    libstdcxx: str | None = None


def detect(environ: Mapping[str, str]) -> HostCapabilities:
    return HostCapabilities(
        virtualgl=find_virtualgl(os.get_exec_path(environ)),
        gpus=tuple(path for path in node_paths() if os.access(path, os.R_OK | os.W_OK)),
        outer_display=_outer_display(environ),
        nvidia=find_library("libGLX_nvidia.so.0") is not None,
        mesa_vendor=find_library("libGLX_mesa.so.0") is not None,
        user={name: value for name, value in environ.items() if name.startswith("VGL_")},
    )


def detect_workarounds(environ: Mapping[str, str], *, running: bool = False) -> Workarounds:
    """Look up what may help when nothing has drawn.

    :param running: whether the target is this process, which can't replace what it has loaded.
    """
    late = running and any("libstdc++.so" in path for path in loaded_libraries())
    return Workarounds(find_mesa(environ), None if late else find_library("libstdc++.so.6"))


def node_paths(root: str = "/") -> list[str]:
    """List the device files of GPUs: in containers, a render node may be all there is."""
    found = []
    for folder, pattern in NODES.items():
        with suppress(OSError):
            names = filter(pattern.fullmatch, os.listdir(os.path.join(root, folder)))
            found += [os.path.join(root, folder, name) for name in names]
    return sorted(found)


def find_virtualgl(search: Sequence[str]) -> VirtualGl | None:
    """Find a VirtualGL whose vglrun is on PATH or in its own prefix, or whose libraries are where ld.so looks."""
    vglrun = find_program("vglrun", [*search, "/opt/VirtualGL/bin"])
    # The last two are for a site's own script of that name, which may call the real vglrun there.
    folders = [*LIBRARY_FOLDERS, "/opt/VirtualGL/lib64", "/opt/VirtualGL/lib"]
    if vglrun is not None:
        prefix = os.path.dirname(os.path.dirname(os.path.realpath(vglrun)))
        folders = [os.path.join(prefix, name) for name in ("lib64", "lib")] + folders
    for folder in folders:
        for faker in "vglfaker", "rrfaker":
            if os.path.isfile(os.path.join(folder, f"lib{faker}.so")):
                return VirtualGl(folder, faker, _is_searched(folder), vglrun)
    return None


def _is_searched(folder: str) -> bool:
    """Tell whether ld.so surely searches *folder* by default: Debian's does not search /usr/lib64, others do."""
    debian = os.path.isdir(LIBRARY_FOLDERS[0])
    return folder in ((LIBRARY_FOLDERS[0], "/usr/lib") if debian else ("/usr/lib64", "/lib64", "/usr/lib"))


def find_mesa(environ: Mapping[str, str] | None = None) -> str | None:
    """Find a folder with a Mesa ``libGL.so.1`` of its own, as BrainVISA and others ship it; return its path, or None.

    The search covers ``mesa``, ``mesalib/lib`` and ``../mesalib/lib`` beside each folder of LD_LIBRARY_PATH, of ld.so's
    cache, and of the libraries that this process has loaded.
    """
    environ = os.environ if environ is None else environ
    folders = [folder for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    folders += [os.path.dirname(path) for path in linker_cache()]
    folders += [os.path.dirname(path) for path in loaded_libraries()]
    for folder in dict.fromkeys(folders):
        for beside in "mesa", "mesalib/lib", "../mesalib/lib":
            candidate = os.path.abspath(os.path.join(folder, beside))
            if os.path.isfile(os.path.join(candidate, "libGL.so.1")):
                return candidate
    return None


def _outer_display(environ: Mapping[str, str]) -> str | None:
    """Return the caller's DISPLAY if VirtualGL could render on it: not one that ssh forwards, nor a session's."""
    match = re.fullmatch(r"(?:unix)?(:(\d{1,9})(?:\.\d{1,9})?)", environ.get("DISPLAY", ""))
    if not match or environ.get("ANAHEADLESS_SESSION", "").startswith(f":{match[2]},"):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(socket_path(int(match[2])))
        except OSError:
            return None
    return match[1]
