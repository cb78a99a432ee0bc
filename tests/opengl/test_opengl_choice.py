"""Which OpenGL is chosen, as tables of machines: nothing here starts a process or touches a library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anaheadless import options
from anaheadless.launch import environment
from anaheadless.opengl import candidates, probe
from anaheadless.opengl.candidates import Candidate, ProbeResult, Selection
from anaheadless.opengl.hardware import HostCapabilities, VirtualGl, Workarounds
from anaheadless.options import OpenGLRequest


def drawn(renderer: str) -> ProbeResult:
    return ProbeResult("drawn", renderer=renderer)


# What proofs come to; the words are those of the libraries.
LLVMPIPE = drawn("llvmpipe (LLVM 15.0.6, 256 bits)")
NVIDIA = drawn("NVIDIA A100-PCIE-40GB/PCIe/SSE2")
RADEON = drawn("AMD Radeon RX 7900 XTX (radeonsi, navi31, LLVM 17.0.6, DRM 3.54)")
INTEL = drawn("Mesa Intel(R) UHD Graphics 770 (ADL-S GT1)")
BAD_VALUE = ProbeResult("refused", "BadValue (integer parameter out of range for operation) (error 2, request 150.3)")
NO_GLX = ProbeResult("no GLX", "the X server has no GLX")
NO_LIBRARY = ProbeResult("no library", "libGL.so.1: cannot open shared object file: No such file or directory")
NO_DRIVER = ProbeResult("refused", "glXCreateContext gave none; libGL error: unable to load driver: swrast_dri.so")
OLD_LIBSTDCXX = ProbeResult(
    "refused",
    "glXCreateContext gave none; libGL error: MESA-LOADER: failed to open swrast: /opt/conda/lib/libstdc++.so.6: "
    "version `GLIBCXX_3.4.30' not found (required by /lib/x86_64-linux-gnu/libLLVM-15.so.1)",
)
NO_3D_DISPLAY = ProbeResult("ended", "status 1; [VGL] ERROR: Could not open display :0.")
NO_VENDOR = ProbeResult(
    "no config",
    "there is no double-buffered RGB visual with depth; libgallium-25.0.7.so: cannot open shared object file: No such "
    "file or directory",
)
CRASHED = ProbeResult("crashed", "Segmentation fault")
NO_ROOM = ProbeResult("crashed", "Bus error")
HUNG = ProbeResult("hung", "no picture within 10 s")

VIRTUALGL = VirtualGl("/opt/VirtualGL/lib64", in_linker_path=False, vglrun="/opt/VirtualGL/bin/vglrun")
DRI = ("/dev/dri/card0",)
BOTH_DEVICES = ("/dev/dri/card0", "/dev/nvidia0")
MESA_FOLDER = Workarounds(mesa_folder="/casa/install/mesalib/lib")
LIBSTDCXX = Workarounds(libstdcxx="/usr/lib/libstdc++.so.6")
NO_REPAIR = Workarounds()

# The candidates, in words.
EGL, ON_0 = "virtualgl (on egl)", "virtualgl (on :0)"
BY_GLVND, IN_FOLDER = "mesa (chosen by libglvnd)", "mesa (in /casa/install/mesalib/lib)"
IN_SOFTWARE = "native (in software)"
REPAIRED = "native (with /usr/lib/libstdc++.so.6)"
WITHOUT_CACHE = "native (without Mesa's disk cache)"


@dataclass(frozen=True)
class Machine:
    """A machine and what is to be decided on it.

    :param proofs: what would come of each candidate; none other may be tried.
    :param chosen: the candidate that is to be chosen.
    :param tried: all that are to be tried, in this order.
    :param repairs: what there would be to repair with, or None where nobody is to ask.
    """

    host: HostCapabilities
    results: Mapping[str, ProbeResult]
    chosen: str | None
    tried: list[str]
    request: OpenGLRequest = field(default_factory=OpenGLRequest)
    workarounds: Workarounds | None = None


NVIDIA_MACHINE = HostCapabilities(VIRTUALGL, BOTH_DEVICES, nvidia=True, mesa_vendor=True)
AMD_MACHINE = HostCapabilities(VIRTUALGL, DRI, mesa_vendor=True)

MACHINES = {
    "NVIDIA, VirtualGL": Machine(NVIDIA_MACHINE, {EGL: NVIDIA, "native": LLVMPIPE}, EGL, [EGL]),
    "NVIDIA, VirtualGL, container without NVIDIA's GLX library": Machine(
        HostCapabilities(VIRTUALGL, ("/dev/nvidia0",), mesa_vendor=True), {EGL: NVIDIA, "native": LLVMPIPE}, EGL, [EGL]
    ),
    "NVIDIA, no VirtualGL, a server on which its GLX works": Machine(
        HostCapabilities(None, BOTH_DEVICES, nvidia=True, mesa_vendor=True),
        {"nvidia": NVIDIA, "native": LLVMPIPE},
        "nvidia",
        ["nvidia"],
    ),
    "NVIDIA, no VirtualGL, its GLX fails on Xvfb": Machine(
        HostCapabilities(None, BOTH_DEVICES, nvidia=True, mesa_vendor=True),
        {"nvidia": BAD_VALUE, "native": LLVMPIPE},
        "native",
        ["nvidia", "native"],
    ),
    "NVIDIA's GLX is what libglvnd dispatches to, and fails": Machine(
        HostCapabilities(None, BOTH_DEVICES, nvidia=True, mesa_vendor=True),
        {"nvidia": BAD_VALUE, "native": BAD_VALUE, BY_GLVND: LLVMPIPE},
        BY_GLVND,
        ["nvidia", "native", BY_GLVND],
    ),
    "NVIDIA's library without its device": Machine(
        HostCapabilities(VIRTUALGL, nvidia=True),
        {"nvidia": CRASHED, "native": LLVMPIPE},
        "native",
        ["nvidia", "native"],
    ),
    "AMD, VirtualGL": Machine(AMD_MACHINE, {EGL: RADEON, "native": LLVMPIPE}, EGL, [EGL]),
    "Intel, VirtualGL": Machine(AMD_MACHINE, {EGL: INTEL, "native": LLVMPIPE}, EGL, [EGL]),
    "AMD, no VirtualGL": Machine(
        HostCapabilities(None, DRI, mesa_vendor=True), {"native": LLVMPIPE}, "native", ["native"]
    ),
    "AMD, no VirtualGL, a server with DRI3": Machine(
        HostCapabilities(None, DRI, mesa_vendor=True), {"native": RADEON}, "native", ["native"]
    ),
    "no GPU": Machine(HostCapabilities(mesa_vendor=True), {"native": LLVMPIPE}, "native", ["native"]),
    "no GPU, no libglvnd": Machine(HostCapabilities(), {"native": LLVMPIPE}, "native", ["native"]),
    "no GPU, but VirtualGL": Machine(
        HostCapabilities(VIRTUALGL, mesa_vendor=True),
        {"native": LLVMPIPE, EGL: LLVMPIPE, ON_0: LLVMPIPE},
        "native",
        ["native"],
    ),
    "container without drivers": Machine(
        HostCapabilities(), {"native": NO_LIBRARY}, None, ["native"], workarounds=NO_REPAIR
    ),
    "container with a Mesa folder": Machine(
        HostCapabilities(),
        {"native": NO_LIBRARY, IN_FOLDER: LLVMPIPE},
        IN_FOLDER,
        ["native", IN_FOLDER],
        workarounds=MESA_FOLDER,
    ),
    "container with a Mesa folder and a VirtualGL that fails": Machine(
        AMD_MACHINE,
        {EGL: NO_GLX, "native": NO_GLX, BY_GLVND: NO_GLX, IN_FOLDER: LLVMPIPE},
        IN_FOLDER,
        [EGL, "native", BY_GLVND, IN_FOLDER],
        workarounds=MESA_FOLDER,
    ),
    "Mesa folder for another architecture": Machine(
        HostCapabilities(),
        {"native": NO_LIBRARY, IN_FOLDER: ProbeResult("not loaded", "libGL.so was ignored")},
        None,
        ["native", IN_FOLDER],
        workarounds=MESA_FOLDER,
    ),
    "conda with an old libstdc++": Machine(
        HostCapabilities(),
        {"native": OLD_LIBSTDCXX, REPAIRED: LLVMPIPE},
        REPAIRED,
        ["native", REPAIRED],
        workarounds=LIBSTDCXX,
    ),
    "conda with an old libstdc++, on a GPU through VirtualGL": Machine(
        HostCapabilities(VIRTUALGL, DRI),
        {EGL: OLD_LIBSTDCXX, "native": OLD_LIBSTDCXX, "virtualgl (on egl, with /usr/lib/libstdc++.so.6)": RADEON},
        "virtualgl (on egl, with /usr/lib/libstdc++.so.6)",
        [EGL, "native", "virtualgl (on egl, with /usr/lib/libstdc++.so.6)"],
        workarounds=LIBSTDCXX,
    ),
    "conda, and libstdc++ is not what is wrong": Machine(
        HostCapabilities(), {"native": NO_LIBRARY}, None, ["native"], workarounds=LIBSTDCXX
    ),
    "conda without a libstdc++ of the system's": Machine(
        HostCapabilities(), {"native": OLD_LIBSTDCXX}, None, ["native"], workarounds=NO_REPAIR
    ),
    "no room for Mesa's cache": Machine(
        HostCapabilities(),
        {"native": NO_ROOM, WITHOUT_CACHE: LLVMPIPE},
        WITHOUT_CACHE,
        ["native", WITHOUT_CACHE],
        workarounds=NO_REPAIR,
    ),
    "no room for Mesa's cache, and nothing may be preloaded": Machine(
        HostCapabilities(),
        {"native": NO_ROOM, WITHOUT_CACHE: LLVMPIPE},
        WITHOUT_CACHE,
        ["native", WITHOUT_CACHE],
        OpenGLRequest(preload=False),
        Workarounds(MESA_FOLDER.mesa_folder, LIBSTDCXX.libstdcxx),
    ),
    "no room for the cache of Mesa, which VirtualGL draws with": Machine(
        HostCapabilities(VIRTUALGL, DRI),
        {EGL: NO_ROOM, "native": NO_ROOM, "virtualgl (on egl, without Mesa's disk cache)": RADEON},
        "virtualgl (on egl, without Mesa's disk cache)",
        [EGL, "native", "virtualgl (on egl, without Mesa's disk cache)"],
        workarounds=NO_REPAIR,
    ),
    "conda with an old libstdc++, and no room for Mesa's cache": Machine(
        HostCapabilities(),
        {"native": OLD_LIBSTDCXX, REPAIRED: NO_ROOM, f"{REPAIRED[:-1]}, without Mesa's disk cache)": LLVMPIPE},
        f"{REPAIRED[:-1]}, without Mesa's disk cache)",
        ["native", REPAIRED, f"{REPAIRED[:-1]}, without Mesa's disk cache)"],
        workarounds=LIBSTDCXX,
    ),
    "a bus error for another reason": Machine(
        HostCapabilities(),
        {"native": NO_ROOM, WITHOUT_CACHE: NO_ROOM},
        None,
        ["native", WITHOUT_CACHE],
        workarounds=LIBSTDCXX,
    ),
    "a bus error that is only spoken of": Machine(
        HostCapabilities(),
        {"native": ProbeResult("ended", "status 1; Bus error")},
        None,
        ["native"],
        workarounds=LIBSTDCXX,
    ),
    "workstation: the X server has the GPU": Machine(
        HostCapabilities(VIRTUALGL, outer_display=":0", mesa_vendor=True),
        {ON_0: RADEON, "native": LLVMPIPE},
        ON_0,
        [ON_0],
    ),
    "workstation: its GPU by EGL first": Machine(
        HostCapabilities(VIRTUALGL, DRI, ":0", mesa_vendor=True), {EGL: RADEON, ON_0: RADEON}, EGL, [EGL]
    ),
    "workstation: no EGL, the X server then": Machine(
        HostCapabilities(VIRTUALGL, DRI, ":0", mesa_vendor=True),
        {EGL: ProbeResult("ended", "status 1; [VGL] 245: Invalid EGL device"), ON_0: RADEON, "native": LLVMPIPE},
        ON_0,
        [EGL, ON_0],
    ),
    "workstation: EGL is software, the X server is not": Machine(
        HostCapabilities(VIRTUALGL, DRI, ":0"), {EGL: LLVMPIPE, ON_0: RADEON, "native": LLVMPIPE}, ON_0, [EGL, ON_0]
    ),
    "ssh-forwarded DISPLAY, which is no place to render on": Machine(
        HostCapabilities(VIRTUALGL, mesa_vendor=True, outer_display=None), {"native": LLVMPIPE}, "native", ["native"]
    ),
    "VirtualGL is software, and so is native": Machine(
        AMD_MACHINE, {EGL: LLVMPIPE, "native": LLVMPIPE, BY_GLVND: LLVMPIPE}, "native", [EGL, "native"]
    ),
    "VirtualGL is software, and native fails": Machine(
        AMD_MACHINE, {EGL: LLVMPIPE, "native": NO_GLX, BY_GLVND: LLVMPIPE}, EGL, [EGL, "native"]
    ),
    "VirtualGL crashes": Machine(AMD_MACHINE, {EGL: CRASHED, "native": LLVMPIPE}, "native", [EGL, "native"]),
    "VirtualGL hangs": Machine(AMD_MACHINE, {EGL: HUNG, "native": LLVMPIPE}, "native", [EGL, "native"]),
    "VirtualGL is not loaded": Machine(
        AMD_MACHINE, {EGL: ProbeResult("not loaded"), "native": LLVMPIPE}, "native", [EGL, "native"]
    ),
    "VirtualGL's file is missing": Machine(
        AMD_MACHINE, {EGL: ProbeResult("missing file"), "native": LLVMPIPE}, "native", [EGL, "native"]
    ),
    "server without GLX, VirtualGL renders elsewhere": Machine(
        HostCapabilities(VIRTUALGL, outer_display=":0", mesa_vendor=True),
        {ON_0: LLVMPIPE, "native": NO_GLX},
        ON_0,
        [ON_0, "native"],
    ),
    "two ways to hardware": Machine(
        NVIDIA_MACHINE, {EGL: NVIDIA, "nvidia": NVIDIA, "native": NVIDIA, BY_GLVND: NVIDIA}, EGL, [EGL]
    ),
    "hardware last": Machine(
        NVIDIA_MACHINE,
        {EGL: LLVMPIPE, "nvidia": BAD_VALUE, "native": RADEON},
        "native",
        [EGL, "nvidia", "native"],
    ),
    "nothing works": Machine(
        NVIDIA_MACHINE,
        {EGL: CRASHED, "nvidia": BAD_VALUE, "native": HUNG, BY_GLVND: NO_DRIVER, IN_FOLDER: CRASHED},
        None,
        [EGL, "nvidia", "native", BY_GLVND, IN_FOLDER],
        workarounds=MESA_FOLDER,
    ),
    "time used up": Machine(
        AMD_MACHINE,
        {EGL: HUNG, "native": HUNG, BY_GLVND: ProbeResult("not tried")},
        None,
        [EGL, "native", BY_GLVND],
        workarounds=NO_REPAIR,
    ),
    "--gl virtualgl": Machine(NVIDIA_MACHINE, {EGL: NVIDIA}, EGL, [EGL], OpenGLRequest("virtualgl")),
    "--gl virtualgl: software is what was asked for": Machine(
        NVIDIA_MACHINE, {EGL: LLVMPIPE, "native": NVIDIA}, EGL, [EGL], OpenGLRequest("virtualgl")
    ),
    "--gl virtualgl without a GPU: Mesa's EGL device": Machine(
        HostCapabilities(VIRTUALGL), {EGL: LLVMPIPE, "native": LLVMPIPE}, EGL, [EGL], OpenGLRequest("virtualgl")
    ),
    "--gl virtualgl without a GPU: the X server rather than Mesa's EGL device": Machine(
        HostCapabilities(VIRTUALGL, outer_display=":0"),
        {ON_0: LLVMPIPE, EGL: LLVMPIPE},
        ON_0,
        [ON_0],
        OpenGLRequest("virtualgl"),
    ),
    "--gl virtualgl fails": Machine(
        HostCapabilities(VIRTUALGL, DRI, ":0"),
        {EGL: CRASHED, ON_0: NO_3D_DISPLAY, "native": LLVMPIPE, IN_FOLDER: LLVMPIPE},
        None,
        [EGL, ON_0],
        OpenGLRequest("virtualgl"),
        workarounds=MESA_FOLDER,
    ),
    "--gl virtualgl is not installed": Machine(
        HostCapabilities(None, DRI, ":0"),
        {"native": LLVMPIPE},
        None,
        [],
        OpenGLRequest("virtualgl"),
        workarounds=MESA_FOLDER,
    ),
    "--no-virtualgl": Machine(
        AMD_MACHINE, {EGL: RADEON, "native": LLVMPIPE}, "native", ["native"], OpenGLRequest(virtualgl=False)
    ),
    "--no-virtualgl, and no other": Machine(
        HostCapabilities(VIRTUALGL, DRI),
        {EGL: RADEON, "native": NO_GLX},
        None,
        ["native"],
        OpenGLRequest(virtualgl=False),
        NO_REPAIR,
    ),
    "--vgl-display before VGL_DISPLAY before the devices": Machine(
        HostCapabilities(VIRTUALGL, DRI, ":0", user={"VGL_DISPLAY": ":7"}),
        {"virtualgl (on egl1)": RADEON, "virtualgl (on :7)": RADEON, EGL: RADEON, ON_0: RADEON},
        "virtualgl (on egl1)",
        ["virtualgl (on egl1)"],
        OpenGLRequest(vgl_display="egl1"),
    ),
    "VGL_DISPLAY before the devices": Machine(
        HostCapabilities(VIRTUALGL, DRI, ":0", user={"VGL_DISPLAY": ":7"}),
        {"virtualgl (on :7)": RADEON, EGL: RADEON, ON_0: RADEON},
        "virtualgl (on :7)",
        ["virtualgl (on :7)"],
    ),
    "--vgl-display fails: what the user named is not replaced by another": Machine(
        HostCapabilities(VIRTUALGL, DRI, ":0"),
        {"virtualgl (on :7)": NO_3D_DISPLAY, "native": LLVMPIPE, EGL: RADEON, ON_0: RADEON},
        "native",
        ["virtualgl (on :7)", "native"],
        OpenGLRequest(vgl_display=":7"),
    ),
    "VGL_DISPLAY is empty": Machine(
        HostCapabilities(VIRTUALGL, DRI, user={"VGL_DISPLAY": ""}), {EGL: RADEON}, EGL, [EGL]
    ),
    "VGL_DISPLAY without a GPU": Machine(
        HostCapabilities(VIRTUALGL, user={"VGL_DISPLAY": ":7"}),
        {"virtualgl (on :7)": RADEON},
        "virtualgl (on :7)",
        ["virtualgl (on :7)"],
    ),
    "--gl hardware": Machine(NVIDIA_MACHINE, {EGL: NVIDIA}, EGL, [EGL], OpenGLRequest("hardware")),
    "--gl hardware, the last one": Machine(
        NVIDIA_MACHINE,
        {EGL: LLVMPIPE, "nvidia": BAD_VALUE, "native": RADEON},
        "native",
        [EGL, "nvidia", "native"],
        OpenGLRequest("hardware"),
    ),
    "--gl hardware, and all is software": Machine(
        NVIDIA_MACHINE,
        {EGL: LLVMPIPE, "nvidia": BAD_VALUE, "native": LLVMPIPE, BY_GLVND: LLVMPIPE, IN_FOLDER: LLVMPIPE},
        None,
        [EGL, "nvidia", "native"],
        OpenGLRequest("hardware"),
        MESA_FOLDER,
    ),
    "--gl hardware without VirtualGL": Machine(
        HostCapabilities(VIRTUALGL, DRI),
        {EGL: RADEON, "native": LLVMPIPE},
        None,
        ["native"],
        OpenGLRequest("hardware", virtualgl=False),
        NO_REPAIR,
    ),
    "--gl hardware, and a renderer without a name": Machine(
        HostCapabilities(), {"native": drawn("")}, None, ["native"], OpenGLRequest("hardware"), NO_REPAIR
    ),
    "--gl hardware, behind an old libstdc++": Machine(
        HostCapabilities(),
        {"native": OLD_LIBSTDCXX, REPAIRED: RADEON},
        REPAIRED,
        ["native", REPAIRED],
        OpenGLRequest("hardware"),
        LIBSTDCXX,
    ),
    "--gl hardware, and behind an old libstdc++ is software": Machine(
        HostCapabilities(),
        {"native": OLD_LIBSTDCXX, REPAIRED: LLVMPIPE},
        None,
        ["native", REPAIRED],
        OpenGLRequest("hardware"),
        LIBSTDCXX,
    ),
    "--gl software": Machine(
        NVIDIA_MACHINE, {EGL: NVIDIA, IN_SOFTWARE: LLVMPIPE}, IN_SOFTWARE, [IN_SOFTWARE], OpenGLRequest("software")
    ),
    "--gl software with --vgl-display": Machine(
        NVIDIA_MACHINE,
        {IN_SOFTWARE: LLVMPIPE},
        IN_SOFTWARE,
        [IN_SOFTWARE],
        OpenGLRequest("software", vgl_display="egl"),
    ),
    "--gl software, and the X server's own is a GPU": Machine(
        NVIDIA_MACHINE,
        {IN_SOFTWARE: NVIDIA, BY_GLVND: LLVMPIPE},
        BY_GLVND,
        [IN_SOFTWARE, BY_GLVND],
        OpenGLRequest("software"),
    ),
    "--gl software, and only a GPU draws": Machine(
        NVIDIA_MACHINE,
        {IN_SOFTWARE: NVIDIA, BY_GLVND: NO_VENDOR},
        None,
        [IN_SOFTWARE, BY_GLVND],
        OpenGLRequest("software"),
        NO_REPAIR,
    ),
    "--gl software, from a Mesa folder": Machine(
        HostCapabilities(None, DRI),
        {IN_SOFTWARE: RADEON, IN_FOLDER: LLVMPIPE},
        IN_FOLDER,
        [IN_SOFTWARE, IN_FOLDER],
        OpenGLRequest("software"),
        MESA_FOLDER,
    ),
    "--gl software, and a renderer without a name": Machine(
        HostCapabilities(), {IN_SOFTWARE: drawn("")}, None, [IN_SOFTWARE], OpenGLRequest("software"), NO_REPAIR
    ),
    "--gl mesa": Machine(
        NVIDIA_MACHINE, {BY_GLVND: LLVMPIPE, EGL: NVIDIA}, BY_GLVND, [BY_GLVND], OpenGLRequest("mesa")
    ),
    "--gl mesa, where libglvnd has none, and a folder": Machine(
        HostCapabilities(None, BOTH_DEVICES, nvidia=True),
        {BY_GLVND: NO_GLX, IN_FOLDER: LLVMPIPE, "nvidia": NVIDIA},
        IN_FOLDER,
        [BY_GLVND, IN_FOLDER],
        OpenGLRequest("mesa"),
        MESA_FOLDER,
    ),
    "--gl nvidia": Machine(
        NVIDIA_MACHINE, {"nvidia": NVIDIA, EGL: NVIDIA}, "nvidia", ["nvidia"], OpenGLRequest("nvidia")
    ),
    "--gl nvidia without its library": Machine(
        HostCapabilities(VIRTUALGL, DRI),
        {"nvidia": NO_GLX, EGL: RADEON, "native": LLVMPIPE, IN_FOLDER: LLVMPIPE},
        None,
        ["nvidia"],
        OpenGLRequest("nvidia"),
        MESA_FOLDER,
    ),
    "--gl native": Machine(
        AMD_MACHINE, {"native": LLVMPIPE, EGL: RADEON}, "native", ["native"], OpenGLRequest("native")
    ),
    "--gl native fails: a Mesa folder is not what was asked for": Machine(
        AMD_MACHINE,
        {"native": NO_LIBRARY, IN_FOLDER: LLVMPIPE, EGL: RADEON},
        None,
        ["native"],
        OpenGLRequest("native"),
        MESA_FOLDER,
    ),
    "--gl native fails: a repair of it is": Machine(
        AMD_MACHINE,
        {"native": OLD_LIBSTDCXX, REPAIRED: LLVMPIPE, EGL: RADEON, IN_FOLDER: LLVMPIPE},
        REPAIRED,
        ["native", REPAIRED],
        OpenGLRequest("native"),
        Workarounds(MESA_FOLDER.mesa_folder, LIBSTDCXX.libstdcxx),
    ),
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_each_machine_gets_the_best_opengl_that_draws(machine: Machine) -> None:
    asked: list[Workarounds] = []

    def workarounds() -> Workarounds:
        assert machine.workarounds is not None, "repairs are looked for though something has drawn"
        asked.append(machine.workarounds)
        return machine.workarounds

    tried: list[str] = []

    def run_probe(candidate: Candidate) -> ProbeResult:
        tried.append(str(candidate))
        return machine.results[str(candidate)]

    selection = candidates.choose(machine.host, machine.request, run_probe, workarounds)
    assert (str(selection.chosen) if selection.chosen else None, tried) == (machine.chosen, machine.tried)
    assert [(str(candidate), result) for candidate, result in selection.attempts] == [
        (name, machine.results[name]) for name in machine.tried
    ]
    assert selection.result == (machine.results[machine.chosen] if machine.chosen else None)
    assert asked == ([] if machine.workarounds is None else [machine.workarounds])


@pytest.mark.uncounted  # it makes thousands of choices, which would take ten seconds
def test_the_choice_is_sound_on_every_machine() -> None:
    """What holds whatever there is, and whatever comes of it."""
    switches = list(product([None, VIRTUALGL], [(), DRI], [None, ":0"], [False, True], [False, True]))
    backends = [backend for backend in options.BACKENDS if backend != "none"]
    outcomes = list(product([OLD_LIBSTDCXX, NO_ROOM, LLVMPIPE, RADEON], repeat=4))
    everything = Workarounds(MESA_FOLDER.mesa_folder, LIBSTDCXX.libstdcxx)
    for switch, backend, outcome in product(switches, backends, outcomes):
        known = dict(zip(("virtualgl", "nvidia", "native", "mesa"), outcome))

        def run_probe(candidate: Candidate, known: Mapping[str, ProbeResult] = known) -> ProbeResult:
            return known[candidate.name]

        selection = candidates.choose(HostCapabilities(*switch), OpenGLRequest(backend), run_probe, lambda: everything)
        results = [result for _, result in selection.attempts]
        story = f"{switch} {backend} {known}: {selection}"
        assert len({str(candidate) for candidate, _ in selection.attempts}) == len(results), story
        assert {candidate.name for candidate, _ in selection.attempts} <= {*options.TRIED[backend]}, story
        if backend in ("hardware", "software"):
            wanted = [result for result in results if getattr(result, backend)]
            assert wanted == ([selection.result] if selection.chosen else []), story
            continue
        assert (selection.chosen is not None) == any(result.drawn for result in results), story
        assert not any(result.hardware for result in results[:-1]), story  # the first one ends the search
        assert not results or results[-1].hardware == (selection.result is not None and selection.result.hardware), (
            story
        )


@pytest.mark.parametrize(
    ("installed", "dlfaker", "user", "preload", "loads"),
    [
        (
            VIRTUALGL,
            True,
            {},
            ("/opt/VirtualGL/lib64/libdlfaker.so", "/opt/VirtualGL/lib64/libvglfaker.so"),
            "libvglfaker.so",
        ),
        (VIRTUALGL, False, {}, ("/opt/VirtualGL/lib64/libvglfaker-nodl.so",), "libvglfaker-nodl.so"),
        (VirtualGl("/usr/lib"), True, {}, ("libdlfaker.so", "libvglfaker.so"), "libvglfaker.so"),
        (VirtualGl("/usr/lib", "rrfaker"), True, {}, ("libdlfaker.so", "librrfaker.so"), "librrfaker.so"),
        (
            VirtualGl("/usr/lib"),
            True,
            {"VGL_FAKEOPENCL": "1"},
            ("libdlfaker.so", "libvglfaker-opencl.so"),
            "libvglfaker-opencl.so",
        ),
        (VirtualGl("/usr/lib"), True, {"VGL_FAKEOPENCL": "0"}, ("libdlfaker.so", "libvglfaker.so"), "libvglfaker.so"),
    ],
)
def test_virtualgl_is_preloaded_by_the_right_paths(
    installed: VirtualGl, dlfaker: bool, user: dict[str, str], preload: tuple[str, ...], loads: str
) -> None:
    """Files are always checked by their paths, however they are preloaded."""
    candidate = candidates.virtualgl(installed, "egl", user, dlfaker=dlfaker)
    assert (candidate.preload, candidate.loads) == (preload, loads)
    assert candidate.files == tuple(f"{installed.folder}/{path.rpartition('/')[2]}" for path in preload)


def test_variables_that_choose_a_vendor_are_known() -> None:
    """As libglvnd and Mesa document them."""
    selection = candidates.choose(
        HostCapabilities(nvidia=True, mesa_vendor=True), OpenGLRequest(), lambda _: NO_GLX, lambda: MESA_FOLDER
    )
    assert {str(candidate): candidate.variables for candidate, _ in selection.attempts} == {
        "nvidia": {"__GLX_VENDOR_LIBRARY_NAME": "nvidia"},
        "native": {},
        BY_GLVND: {"__GLX_VENDOR_LIBRARY_NAME": "mesa", "LIBGL_ALWAYS_SOFTWARE": "1"},
        IN_FOLDER: {"LIBGL_ALWAYS_SOFTWARE": "1"},
    }


@pytest.mark.parametrize(
    ("renderer", "hardware"),
    [
        ("NVIDIA A100-PCIE-40GB/PCIe/SSE2", True),
        ("Quadro RTX 5000/PCIe/SSE2", True),
        ("AMD Radeon RX 7900 XTX (radeonsi, navi31, LLVM 17.0.6, DRM 3.54)", True),
        ("Mesa Intel(R) UHD Graphics 770 (ADL-S GT1)", True),
        ("Mesa DRI Intel(R) HD Graphics 530 (Skylake GT2)", True),
        ("NV137", True),
        ("virgl (AMD Radeon RX 580)", True),
        ("D3D12 (NVIDIA GeForce RTX 3080)", True),
        ("zink Vulkan 1.3(NVIDIA GeForce RTX 3080 (NVIDIA_PROPRIETARY))", True),
        ("llvmpipe (LLVM 15.0.6, 256 bits)", False),
        ("Gallium 0.4 on llvmpipe (LLVM 3.4, 256 bits)", False),
        ("softpipe", False),
        ("Software Rasterizer", False),
        ("Mesa DRI swrast", False),
        ("SWR (LLVM 10.0.0, 256 bits)", False),
        ("Mesa X11", False),
        ("Mesa OffScreen", False),
        ("virgl (llvmpipe (LLVM 15.0.6, 256 bits))", False),
        ("zink Vulkan 1.3(llvmpipe (LLVM 15.0.6, 256 bits) (MESA_LLVMPIPE))", False),
        pytest.param(
            "D3D12 (Microsoft Basic Render Driver)",
            False,
        ),
        pytest.param(
            "",
            False,
        ),
    ],
)
def test_hardware_is_told_from_software_by_its_name(renderer: str, hardware: bool) -> None:
    assert drawn(renderer).hardware is hardware
    assert drawn(renderer).software is (renderer != "" and not hardware)
    # What has not drawn is neither, whatever it says.
    failed = ProbeResult("wrong pixels", renderer=renderer)
    assert not failed.hardware
    assert not failed.software


# What rendercheck says with the real VirtualGL 3.1.4 on Mesa 22.3.6, but for the folders.
SAID = """\
vendor: VirtualGL
gl_vendor: Mesa/X.org
renderer: llvmpipe (LLVM 15.0.6, 256 bits)
version: 4.5 (Compatibility Profile) Mesa 22.3.6
direct: yes
libraries: /opt/VirtualGL/lib64/libdlfaker.so:/opt/VirtualGL/lib64/libvglfaker.so:/usr/lib/libGL.so.1.7.0
result: drawn
"""
SAID_NATIVE = """\
vendor: Mesa Project and SGI
renderer: llvmpipe (LLVM 15.0.6, 256 bits)
direct: no
libraries: /usr/lib/libGL.so.1.7.0
result: drawn
"""
IGNORED = "ERROR: ld.so: object 'libvglfaker.so' from LD_PRELOAD cannot be preloaded: ignored."
NATIVE = Candidate("native")
FORCED = candidates.virtualgl(VIRTUALGL, ":0", {}, dlfaker=True)
WITHOUT_DL = candidates.virtualgl(VIRTUALGL, ":0", {}, dlfaker=False)
FOLDER_CANDIDATE = next(candidates.fallbacks([], MESA_FOLDER, OpenGLRequest()))


@pytest.mark.parametrize(
    ("candidate", "output", "errors", "status", "result", "message"),
    [
        pytest.param(FORCED, SAID, "", 0, "drawn", "", id="drawn"),
        pytest.param(FORCED, SAID, "[VGL] NOTICE: of no interest\n", 0, "drawn", "", id="drawn, with words"),
        pytest.param(NATIVE, SAID_NATIVE, "", 0, "drawn", "", id="drawn by native"),
        pytest.param(FORCED, SAID_NATIVE, "", 0, "not loaded", "libvglfaker.so was ignored", id="faker not loaded"),
        pytest.param(
            FORCED,
            SAID_NATIVE,
            f"{IGNORED}\n",
            0,
            "not loaded",
            f"libvglfaker.so was ignored; {IGNORED}",
            id="faker not loaded, in ld.so's words",
        ),
        pytest.param(WITHOUT_DL, SAID, "", 0, "not loaded", "libvglfaker-nodl.so was ignored", id="another faker"),
        pytest.param(
            FORCED,
            "result: no display\nmessage: the display can't be opened\n",
            "Invalid MIT-MAGIC-COOKIE-1 key",
            1,
            "no display",
            "the display can't be opened; Invalid MIT-MAGIC-COOKIE-1 key",
            id="no display",
        ),
        pytest.param(
            NATIVE,
            "result: no GLX\nmessage: the X server has no GLX\n",
            "",
            1,
            "no GLX",
            "the X server has no GLX",
            id="no GLX",
        ),
        pytest.param(
            NATIVE,
            SAID_NATIVE.replace("drawn", "wrong pixels") + "message: middle: (0, 0, 0) was read back\n",
            "",
            1,
            "wrong pixels",
            "middle: (0, 0, 0) was read back",
            id="wrong pixels, with a colon in the message",
        ),
        pytest.param(NATIVE, "", "", -11, "crashed", "Segmentation fault", id="SIGSEGV"),
        pytest.param(
            NATIVE, "", "a\n\n b \nc\nd\ne\n", -6, "crashed", "Aborted; b; c; d; e", id="SIGABRT, the last words"
        ),
        pytest.param(
            NATIVE, "renderer: llvmpipe\n", "", -11, "crashed", "Segmentation fault", id="SIGSEGV after a few words"
        ),
        pytest.param(
            FORCED,
            "",
            "[VGL] ERROR: Could not open display :0.\n",
            1,
            "ended",
            "status 1; [VGL] ERROR: Could not open display :0.",
            id="the faker's exit(1)",
        ),
        pytest.param(FORCED, "", "", 0, "ended", "status 0", id="status 0 and not a word is no picture"),
        pytest.param(FORCED, "", "undefined symbol", 127, "ended", "status 127; undefined symbol", id="ld.so gave up"),
        pytest.param(
            FOLDER_CANDIDATE,
            SAID_NATIVE.replace("/usr/lib/", "/casa/install/mesalib/lib/"),
            "",
            0,
            "drawn",
            "",
            id="Mesa folder",
        ),
    ],
)
def test_what_a_probe_says_is_read(
    candidate: Candidate, output: str, errors: str, status: int, result: str, message: str
) -> None:
    seen = probe.parse_result(candidate, output, errors, status, 1.5)
    assert (seen.outcome, seen.message, seen.seconds) == (result, message, 1.5)
    assert seen.drawn == (result == "drawn")


def test_a_library_that_ld_so_ignored_is_not_loaded() -> None:
    """ld.so ignores a library for another architecture."""
    assert probe.parse_result(FOLDER_CANDIDATE, SAID_NATIVE, IGNORED, 0).outcome == "not loaded"


def test_what_a_probe_found_is_read() -> None:
    assert probe.parse_result(FORCED, SAID, "", 0, 0.25).replace(libraries=()) == ProbeResult(
        "drawn",
        vendor="VirtualGL",
        renderer="llvmpipe (LLVM 15.0.6, 256 bits)",
        version="4.5 (Compatibility Profile) Mesa 22.3.6",
        direct=True,
        seconds=0.25,
    )
    assert probe.parse_result(NATIVE, SAID_NATIVE, "", 0).direct is False
    assert probe.parse_result(NATIVE, "result: no GLX\n", "", 1).direct is None


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (LLVMPIPE, "llvmpipe (LLVM 15.0.6, 256 bits), software"),
        (NVIDIA, "NVIDIA A100-PCIE-40GB/PCIe/SSE2, hardware"),
        (NO_3D_DISPLAY, "ended: status 1; [VGL] ERROR: Could not open display :0."),
        (ProbeResult("hung"), "hung"),
    ],
)
def test_a_probe_is_told_in_words(result: ProbeResult, words: str) -> None:
    assert str(result) == words


ADVICE = (
    "not found on PATH, in /opt/VirtualGL",
    "libstdcxx-ng",
    "libgl1 and libglx-mesa0",
    "--server-arg",
    "--probe-timeout",
    "libgl1-mesa-dri",
    "a disk is full",
    "Only software has drawn",
    "Only a GPU has drawn",
)


@pytest.mark.parametrize(
    ("backend", "results", "advised"),
    [
        pytest.param("virtualgl", [], "not found on PATH, in /opt/VirtualGL", id="VirtualGL is not installed"),
        pytest.param("auto", [OLD_LIBSTDCXX], "libstdcxx-ng", id="GLIBCXX"),
        pytest.param("auto", [NO_LIBRARY, OLD_LIBSTDCXX], "libstdcxx-ng", id="GLIBCXX before all else"),
        pytest.param("auto", [ProbeResult("ended", "version `CXXABI_1.3.13' not found")], "libstdcxx-ng", id="CXXABI"),
        pytest.param("auto", [NO_LIBRARY], "libgl1 and libglx-mesa0", id="no libGL"),
        pytest.param("auto", [BAD_VALUE, NO_LIBRARY], "libgl1 and libglx-mesa0", id="no libGL, among others"),
        pytest.param("native", [NO_GLX], "--server-arg + libgl1-mesa-dri", id="no GLX"),
        pytest.param("auto", [NO_GLX, NO_GLX], "--server-arg + libgl1-mesa-dri", id="no GLX, twice"),
        pytest.param("auto", [NO_GLX, BAD_VALUE], "libgl1-mesa-dri", id="no GLX is not all"),
        pytest.param("virtualgl", [HUNG], "--probe-timeout", id="hung"),
        pytest.param("auto", [CRASHED, HUNG, NO_GLX], "--probe-timeout", id="hung, among others"),
        pytest.param("auto", [CRASHED], "libgl1-mesa-dri", id="crashed"),
        pytest.param("mesa", [NO_DRIVER], "libgl1-mesa-dri", id="no driver"),
        pytest.param(
            "native", [ProbeResult("no config", "there is no visual")], "libstdcxx-ng + libgl1-mesa-dri", id="no config"
        ),
        pytest.param("auto", [NO_VENDOR, NO_VENDOR], "libstdcxx-ng + libgl1-mesa-dri", id="a part of the driver"),
        pytest.param("auto", [NO_ROOM, NO_ROOM], "a disk is full", id="bus error"),
        pytest.param("hardware", [NO_GLX, LLVMPIPE], "Only software has drawn", id="no GPU"),
        pytest.param("hardware", [LLVMPIPE, OLD_LIBSTDCXX], "libstdcxx-ng", id="a GPU behind GLIBCXX"),
        pytest.param("software", [RADEON, NO_LIBRARY], "libgl1-mesa-dri + Only a GPU has drawn", id="only a GPU"),
    ],
)
def test_advice_says_what_to_install_or_set(backend: str, results: list[ProbeResult], advised: str) -> None:
    attempts = tuple((Candidate(f"candidate {number}"), result) for number, result in enumerate(results))
    given = candidates.advice(Selection(None, attempts))
    assert [words for words in ADVICE if words in given] == advised.split(" + ")
    assert given.endswith(".")


def test_advice_names_the_cause_that_is_known() -> None:
    selection = Selection(None, ((Candidate("native"), LLVMPIPE),))
    assert "LIBGL_ALWAYS_SOFTWARE" in candidates.advice(selection)
    assert candidates.advice(selection, "No GPU.") == "Only software has drawn. No GPU. --gl auto accepts software."


SESSION = {
    "DISPLAY": ":2345",
    "XAUTHORITY": "/proc/77/fd/5",
    "XDG_SESSION_TYPE": "x11",
    "ANAHEADLESS_SESSION": ":2345,77",
}


def build(base: Mapping[str, str], candidate: Candidate | None) -> dict[str, str]:
    """The environment with *candidate*, but for the session."""
    untouched = dict(base)
    built = environment.build(base, display=":2345", authority="/proc/77/fd/5", keeper=77, opengl=candidate)
    assert base == untouched
    assert {name: built.pop(name) for name in SESSION} == SESSION
    if candidate is None:
        assert built.pop("QT_XCB_GL_INTEGRATION") == "none"
    return built


# Always set by vglrun 3.1.4, whatever its options.
COMMON = {
    "GEOPROBE_USEGLX": "1",
    "PROMAGIC_USEGLX": "1",
    "VBOX_CROGL_FORCE_SUPPORTED": "1",
    "VGL_ISACTIVE": "1",
}
FAKERS = "libdlfaker.so:libvglfaker.so"


@dataclass(frozen=True)
class Recorded:
    """What ``env -i PRESET vglrun OPTIONS env`` of VirtualGL 3.1.4 prints, but for LD_LIBRARY_PATH and COMMON."""

    options: str
    preset: dict[str, str]
    printed: dict[str, str]


RECORDED = [
    Recorded("-d :81", {}, {"VGL_DISPLAY": ":81", "LD_PRELOAD": FAKERS}),
    Recorded("-d egl", {}, {"VGL_DISPLAY": "egl", "LD_PRELOAD": FAKERS}),
    Recorded("-d :81 -nodl", {}, {"VGL_DISPLAY": ":81", "LD_PRELOAD": "libvglfaker-nodl.so"}),
    Recorded("-d :81", {"LD_PRELOAD": "libfoo.so"}, {"VGL_DISPLAY": ":81", "LD_PRELOAD": f"{FAKERS}:libfoo.so"}),
    Recorded(
        "-d :81", {"LD_PRELOAD": f"{FAKERS}:libfoo.so"}, {"VGL_DISPLAY": ":81", "LD_PRELOAD": f"{FAKERS}:libfoo.so"}
    ),
    Recorded(
        "-d :81 -nodl",
        {"LD_PRELOAD": "libfoo.so"},
        {"VGL_DISPLAY": ":81", "LD_PRELOAD": "libvglfaker-nodl.so:libfoo.so"},
    ),
    Recorded(
        "-d :81",
        {"LD_PRELOAD": "libgefaker.so:libvglfaker-opencl.so:libfoo.so"},
        {"VGL_DISPLAY": ":81", "LD_PRELOAD": f"{FAKERS}:libfoo.so"},
    ),
    Recorded(
        "-d :81",
        {"VGL_FAKEOPENCL": "1"},
        {"VGL_DISPLAY": ":81", "VGL_FAKEOPENCL": "1", "LD_PRELOAD": "libdlfaker.so:libvglfaker-opencl.so"},
    ),
    Recorded(
        "-d :81 -nodl",
        {"VGL_FAKEOPENCL": "1"},
        {"VGL_DISPLAY": ":81", "VGL_FAKEOPENCL": "1", "LD_PRELOAD": "libvglfaker-nodl.so"},
    ),
    Recorded("", {"VGL_DISPLAY": "egl1"}, {"VGL_DISPLAY": "egl1", "LD_PRELOAD": FAKERS}),
    Recorded("-d :81", {"VGL_DISPLAY": "egl1"}, {"VGL_DISPLAY": ":81", "LD_PRELOAD": FAKERS}),
    Recorded(
        "-d :81",
        {"VGL_COMPRESS": "proxy", "VGL_ISACTIVE": "0"},
        {"VGL_DISPLAY": ":81", "VGL_COMPRESS": "proxy", "LD_PRELOAD": FAKERS},
    ),
]


def candidate_as_vglrun(options: str, user: Mapping[str, str], installed: VirtualGl) -> Candidate:
    """The first candidate for the wishes that vglrun's *options* are."""
    words = options.split()
    request = OpenGLRequest(
        "virtualgl",
        vgl_display=words[words.index("-d") + 1] if "-d" in words else None,
        vgl_dlfaker="-nodl" not in words,
    )
    known = {name: value for name, value in user.items() if name.startswith("VGL_")}
    return next(candidates.candidates(HostCapabilities(installed, user=known), request))


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda case: f"{case.preset} vglrun {case.options}")
def test_variables_are_those_of_vglrun(recorded: Recorded) -> None:
    candidate = candidate_as_vglrun(recorded.options, recorded.preset, VirtualGl("/usr/lib"))
    assert build(recorded.preset, candidate) == {**COMMON, **recorded.printed}


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda case: f"{case.preset} vglrun {case.options}")
def test_virtualgl_is_preloaded_by_path_where_ld_so_does_not_look(recorded: Recorded) -> None:
    """Absolute paths, where vglrun extends LD_LIBRARY_PATH: that is left alone."""
    preset = {**recorded.preset, "LD_LIBRARY_PATH": "/opt/VirtualGL/lib64:"}
    built = build(preset, candidate_as_vglrun(recorded.options, preset, VIRTUALGL))
    own = [
        name if name == "libfoo.so" else f"/opt/VirtualGL/lib64/{name}"
        for name in recorded.printed["LD_PRELOAD"].split(":")
    ]
    assert built == {
        **COMMON,
        **recorded.printed,
        "LD_PRELOAD": ":".join(own),
        "LD_LIBRARY_PATH": "/opt/VirtualGL/lib64:",
    }


@pytest.mark.parametrize("outer", ["-d :81", "-d :81 -nodl"])
@pytest.mark.parametrize("inner", ["-d egl", "-d egl -nodl"])
@pytest.mark.parametrize("installed", [VIRTUALGL, VirtualGl("/usr/lib")], ids=["own prefix", "in ld.so's path"])
def test_nested_sessions_have_one_virtualgl(outer: str, inner: str, installed: VirtualGl) -> None:
    """As of vglrun under vglrun; the inner one counts."""
    first = build({"LD_PRELOAD": "libfoo.so"}, candidate_as_vglrun(outer, {}, installed))
    inner_candidate = candidate_as_vglrun(inner, first, installed)
    second = build(first, inner_candidate)
    assert second["LD_PRELOAD"] == ":".join([*inner_candidate.preload, "libfoo.so"])
    assert second["VGL_DISPLAY"] == "egl"
    assert build(second, inner_candidate) == second


def test_an_inner_session_renders_where_the_outer_one_does() -> None:
    first = build({}, candidate_as_vglrun("-d :81", {}, VIRTUALGL))
    assert build(first, candidate_as_vglrun("", first, VIRTUALGL)) == first


PRELOADING = Candidate("virtualgl", preload=("/vgl/libdlfaker.so", "/vgl/libvglfaker.so"))
OURS = "/vgl/libdlfaker.so:/vgl/libvglfaker.so"


@pytest.mark.parametrize(
    ("preset", "native", "virtualgl"),
    [
        (None, None, OURS),
        ("", "", OURS),
        (":", ":", OURS),
        ("mine.so", "mine.so", f"{OURS}:mine.so"),
        ("mine.so other.so", "mine.so other.so", f"{OURS}:mine.so:other.so"),
        ("b.so:a.so", "b.so:a.so", f"{OURS}:b.so:a.so"),
        ("libvglfaker.so", None, OURS),
        (OURS, None, OURS),
        ("/opt/VirtualGL-2.6/lib64/libvglfaker.so:mine.so", "mine.so", f"{OURS}:mine.so"),
        ("mine.so:libdlfaker.so:librrfaker.so", "mine.so", f"{OURS}:mine.so"),
        ("/usr/lib/librrfaker.so", None, OURS),
        ("libvglfaker-nodl.so:/a/mine.so", "/a/mine.so", f"{OURS}:/a/mine.so"),
        ("libgefaker.so:libdlfaker.so:libvglfaker-opencl.so", None, OURS),
        ("libdlfaker.so  libvglfaker.so mine.so", "mine.so", f"{OURS}:mine.so"),
        (" mine.so :/$LIB/libvglfaker.so: other.so ", "mine.so:other.so", f"{OURS}:mine.so:other.so"),
        # What only looks like one.
        (
            "libtimefaker.so:mylibvglfaker.so",
            "libtimefaker.so:mylibvglfaker.so",
            f"{OURS}:libtimefaker.so:mylibvglfaker.so",
        ),
        ("/libvglfaker.so.d/mine.so", "/libvglfaker.so.d/mine.so", f"{OURS}:/libvglfaker.so.d/mine.so"),
    ],
)
def test_preloaded_libraries_of_the_user_stay(preset: str | None, native: str | None, virtualgl: str) -> None:
    """Ours first, the user's own after them; of fakers only ours; untouched where nothing is to be changed."""
    base = {"HOME": "/home/me", **({} if preset is None else {"LD_PRELOAD": preset})}
    unchanged = {"HOME": "/home/me", **({} if native is None else {"LD_PRELOAD": native})}
    assert build(base, NATIVE) == unchanged
    assert build(base, None) == unchanged
    assert build(base, PRELOADING) == {"HOME": "/home/me", "LD_PRELOAD": virtualgl}
    assert build(build(base, PRELOADING), PRELOADING) == {"HOME": "/home/me", "LD_PRELOAD": virtualgl}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (None, "/mesa"),
        ("", "/mesa"),
        ("/a:/b", "/mesa:/a:/b"),
        ("/mesa:/a", "/mesa:/a"),
        ("/a:/mesa", "/mesa:/a"),
        ("/a:", "/mesa:/a"),
    ],
)
def test_the_library_path_of_the_user_stays(preset: str | None, expected: str) -> None:
    """Ours first; an empty entry would be the current folder."""
    base = {"LD_PRELOAD": "mine.so", **({} if preset is None else {"LD_LIBRARY_PATH": preset})}
    candidate = Candidate("mesa", preload=("/mesa/libGL.so.1",), library_path=("/mesa",))
    once = build(base, candidate)
    assert once == {"LD_PRELOAD": "/mesa/libGL.so.1:mine.so", "LD_LIBRARY_PATH": expected}
    assert build(once, candidate) == once
    assert build(base, NATIVE) == base


def test_a_repair_comes_before_what_it_repairs() -> None:
    attempts = [(FORCED, OLD_LIBSTDCXX), (NATIVE, NO_GLX)]
    (repaired,) = candidates.fallbacks(attempts, LIBSTDCXX, OpenGLRequest("virtualgl"))
    assert repaired.preload == ("/usr/lib/libstdc++.so.6", *FORCED.preload)
    assert repaired.files == ("/usr/lib/libstdc++.so.6", *FORCED.files)
    assert (repaired.variables, repaired.loads) == (FORCED.variables, FORCED.loads)


def test_missing_drivers_are_to_be_installed_first() -> None:
    for missing in NO_VENDOR, ProbeResult("refused", "libGL error: failed to load driver: swrast"):
        given = candidates.advice(Selection(None, ((NATIVE, missing),)))
        assert given.startswith("Install Mesa's drivers (Debian: libgl1-mesa-dri).")


def test_mesa_without_its_cache_is_told_of_and_nothing_else_is() -> None:
    (candidate,) = candidates.fallbacks([(FORCED, NO_ROOM)], NO_REPAIR, OpenGLRequest())
    added = {"MESA_SHADER_CACHE_DISABLE": "true", "MESA_GLSL_CACHE_DISABLE": "true"}
    assert candidate.variables == {**FORCED.variables, **added}
    assert (candidate.preload, candidate.files) == (FORCED.preload, FORCED.files)
    assert "cache" in candidate.warning
    (repaired,) = candidates.fallbacks([(NATIVE, OLD_LIBSTDCXX)], LIBSTDCXX, OpenGLRequest())
    assert (NATIVE.warning, repaired.warning) == ("", "")


def test_a_mesa_of_its_own_is_preloaded_and_searched() -> None:
    library = "/casa/install/mesalib/lib/libGL.so.1"
    assert (FOLDER_CANDIDATE.preload, FOLDER_CANDIDATE.files) == ((library,), (library,))
    assert build({}, FOLDER_CANDIDATE) == {
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "LD_PRELOAD": library,
        "LD_LIBRARY_PATH": "/casa/install/mesalib/lib",
    }


def test_a_mesa_in_a_folder_with_a_blank_is_searched_only() -> None:
    """LD_PRELOAD takes blanks for separators."""
    (candidate,) = candidates.fallbacks([], Workarounds(mesa_folder="/my programs/mesa"), OpenGLRequest())
    assert build({"LD_PRELOAD": "mine.so"}, candidate) == {
        "LIBGL_ALWAYS_SOFTWARE": "1",
        "LD_PRELOAD": "mine.so",
        "LD_LIBRARY_PATH": "/my programs/mesa",
    }


@given(st.text(), st.text(), st.integers(-64, 255))
@example("result: drawn\n", "", 0)
def test_any_answer_of_a_probe_can_be_read(output: str, errors: str, status: int) -> None:
    found = probe.parse_result(Candidate("native"), output, errors, status)
    assert (found.outcome == "drawn") == ("result: drawn" in output.splitlines())
