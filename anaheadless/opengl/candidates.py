"""The choice of the OpenGL that the target gets: candidates, the result of each probe, and the selection.

All functions here are pure: they do not touch the machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from anaheadless.opengl.hardware import HostCapabilities, VirtualGl, Workarounds
from anaheadless.options import TRIED, OpenGLRequest
from anaheadless.system.light_stdlib import Record

# GL_RENDERER of renderers on the CPU contains one of these. VirtualGL and the GLX vendor don't tell.
_SOFTWARE_RENDERERS = (
    *("llvmpipe", "softpipe", "swrast", "swr", "lavapipe", "swiftshader", "mesa x11"),
    *("mesa offscreen", "software rasterizer", "basic render driver"),
)

# Words in the messages of drivers when the interpreter's own, older libstdc++ was loaded before theirs (conda-eda#312,
# spinalcordtoolbox#3927).
_LIBSTDCXX_ERRORS = ("GLIBCXX", "CXXABI", "libstdc++", "failed to load driver")

# Mesa, up to 23 at least, maps the index of its cache into memory, and dies of SIGBUS when the disk has no room for it.
# The second name is that of Mesa before 22; if both are set, no version warns of the old one.
_BUS_ERROR = "Bus error"
_SOFTWARE = MappingProxyType({"LIBGL_ALWAYS_SOFTWARE": "1"})  # only Mesa obeys
_WITHOUT_CACHE = MappingProxyType({"MESA_SHADER_CACHE_DISABLE": "true", "MESA_GLSL_CACHE_DISABLE": "true"})


class Candidate(Record):
    """A way to get OpenGL.

    :param name: one of CANDIDATES, or ``none``.
    :param detail: tells several candidates of one name apart, for people.
    :param variables: set in the environment.
    :param preload: put in front of LD_PRELOAD.
    :param library_path: put in front of LD_LIBRARY_PATH.
    :param files: files that must exist: if a preloaded library is missing, ld.so only warns, and runs the program
        without it.
    :param loads: part of the path of a library that the probe must have loaded.
    :param load: libraries that the process loads itself, before all others; for a process that runs already, and
        can't preload any more.
    :param warning: printed for the user if the candidate is chosen; such a choice is not cached.
    """

    name: str
    detail: str = ""
    variables: Mapping[str, str] = MappingProxyType({})
    preload: tuple[str, ...] = ()
    library_path: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    loads: str | None = None
    load: tuple[str, ...] = ()
    warning: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.detail})" if self.detail else self.name


class ProbeResult(Record):
    """The result of a candidate's probe.

    :param outcome: ``drawn``, or what failed: ``no display``, ``no device``, ``no library``, ``no GLX``, ``no config``,
        ``refused``, ``wrong pixels``, ``not loaded``, ``crashed``, ``ended``, ``hung``, ``missing file``,
        ``not tried``.
    :param message: the reason, as the library reports it, if it does.
    :param seconds: how long the probe took.
    :param libraries: the paths of all libraries that were loaded for drawing.
    """

    outcome: str
    message: str = ""
    vendor: str = ""
    renderer: str = ""
    version: str = ""
    direct: bool | None = None
    seconds: float = 0.0
    libraries: tuple[str, ...] = ()

    @property
    def drawn(self) -> bool:
        return self.outcome == "drawn"

    @property
    def hardware(self) -> bool:
        return self.drawn and self.renderer != "" and not self.software

    @property
    def software(self) -> bool:
        renderer = self.renderer.lower()
        return self.drawn and any(word in renderer for word in _SOFTWARE_RENDERERS)

    def __str__(self) -> str:
        if self.drawn:
            return f"{self.renderer}, {'hardware' if self.hardware else 'software'}"
        return f"{self.outcome}: {self.message}" if self.message else self.outcome


class Selection(Record):
    """The candidate that the target gets, or None, and all attempts in their order."""

    chosen: Candidate | None
    attempts: tuple[tuple[Candidate, ProbeResult], ...] = ()

    @property
    def result(self) -> ProbeResult | None:
        return next((result for candidate, result in self.attempts if candidate is self.chosen), None)


def candidates(host: HostCapabilities, request: OpenGLRequest) -> Iterator[Candidate]:
    """Yield the ways to get OpenGL here, in the order in which to try them."""
    wanted = TRIED[request.backend]
    if "virtualgl" in wanted and request.virtualgl and request.preload and host.virtualgl is not None:
        for display in _vgl_displays(host, request):
            yield virtualgl(host.virtualgl, display, host.user, dlfaker=request.vgl_dlfaker)
    if "nvidia" in wanted and (host.nvidia or request.backend == "nvidia"):
        # If libglvnd can't load the vendor that is named, it silently takes another one.
        yield Candidate("nvidia", variables={"__GLX_VENDOR_LIBRARY_NAME": "nvidia"}, loads="libGLX_nvidia.so")
    if "native" in wanted:
        yield Candidate("native", "in software", _SOFTWARE) if request.backend == "software" else Candidate("native")
    if "mesa" in wanted and (host.mesa_vendor or request.backend == "mesa"):
        variables = {"__GLX_VENDOR_LIBRARY_NAME": "mesa", **_SOFTWARE}
        yield Candidate("mesa", "chosen by libglvnd", variables, loads="libGLX_mesa.so")


def _vgl_displays(host: HostCapabilities, request: OpenGLRequest) -> Sequence[str]:
    asked = request.vgl_display or host.user.get("VGL_DISPLAY")
    if asked:
        return [asked]
    found = [*([host.vgl_device] if host.gpus else []), *([host.outer_display] if host.outer_display else [])]
    # Without a GPU and a 3D X server, EGL has at most a software device: use it only if VirtualGL was asked for.
    return found or (["egl"] if request.force_virtualgl or request.backend == "virtualgl" else [])


def virtualgl(installed: VirtualGl, display: str, user: Mapping[str, str], *, dlfaker: bool) -> Candidate:
    """Make the candidate for VirtualGL rendering on *display*, preloaded as its own vglrun (3.1) does it.

    If ld.so finds the libraries by name, they are preloaded by name, so that 32-bit children find theirs. Otherwise
    they are preloaded by path: vglrun would put their folder into LD_LIBRARY_PATH, with a trailing colon that adds the
    current folder, too.
    """
    suffix = "" if dlfaker else "-nodl"
    if dlfaker and user.get("VGL_FAKEOPENCL") == "1":
        suffix = "-opencl"
    names = [*(["libdlfaker.so"] if dlfaker else []), f"lib{installed.faker}{suffix}.so"]
    files = tuple(os.path.join(installed.folder, name) for name in names)
    # LD_PRELOAD can't express a blank.
    by_name = installed.in_linker_path or " " in installed.folder
    return Candidate(
        "virtualgl",
        f"on {display}",
        variables={
            "GEOPROBE_USEGLX": "1",
            "PROMAGIC_USEGLX": "1",
            "VBOX_CROGL_FORCE_SUPPORTED": "1",
            "VGL_ISACTIVE": "1",
            "VGL_DISPLAY": display,
        },
        preload=tuple(names) if by_name else files,
        library_path=() if installed.in_linker_path or not by_name else (installed.folder,),
        files=files,
        loads=names[-1],
    )


def in_process(candidate: Candidate) -> Candidate:
    """Adapt *candidate* to a program that runs already, which loads the libraries itself instead of preloading them.

    VirtualGL's interposer of dlopen() is left out: it comes too late in a running program.
    """
    load = tuple(path for path in candidate.files if os.path.basename(path) != "libdlfaker.so")
    return candidate.replace(preload=(), library_path=(), load=load)


def fallbacks(
    attempts: Sequence[tuple[Candidate, ProbeResult]], workarounds: Workarounds, request: OpenGLRequest
) -> Iterator[Candidate]:
    """Yield the candidates that are left to try when none of the *attempts* has drawn.

    :param attempts: may grow by the candidates that this yields: one may need several workarounds.
    """
    wants_mesa = "mesa" in TRIED[request.backend]
    if request.preload and workarounds.mesa_folder is not None and wants_mesa:
        library = os.path.join(workarounds.mesa_folder, "libGL.so.1")
        yield Candidate(
            "mesa",
            f"in {workarounds.mesa_folder}",
            _SOFTWARE,
            # LD_PRELOAD can't express a blank; LD_LIBRARY_PATH then has to be enough.
            preload=() if " " in library else (library,),
            library_path=(workarounds.mesa_folder,),
            files=(library,),
            loads=os.path.join(os.path.realpath(workarounds.mesa_folder), "libGL.so"),
        )
    for candidate, result in attempts:
        changed = _without_cache(candidate, result)
        if changed is None and request.preload and workarounds.libstdcxx is not None:
            changed = _with_libstdcxx(candidate, result, workarounds.libstdcxx)
        if changed is not None:
            yield changed


def _without_cache(candidate: Candidate, result: ProbeResult) -> Candidate | None:
    """Return *candidate* without Mesa's disk cache, if the cache may be why it crashed, else None."""
    if result.outcome != "crashed" or not result.message.startswith(_BUS_ERROR) or candidate.warning:
        return None
    return candidate.replace(
        detail=", ".join(filter(None, [candidate.detail, "without Mesa's disk cache"])),
        variables={**candidate.variables, **_WITHOUT_CACHE},
        warning="Mesa crashed (bus error) until its shader cache was switched off, so this run does without the cache: "
        "is the disk of XDG_CACHE_HOME (default: ~/.cache) full?",
    )


def _with_libstdcxx(candidate: Candidate, result: ProbeResult, libstdcxx: str) -> Candidate | None:
    """Return *candidate* with the system's libstdc++ preloaded, if an older one may be why it failed, else None."""
    if libstdcxx in candidate.files or not any(word in result.message for word in _LIBSTDCXX_ERRORS):
        return None
    return candidate.replace(
        detail=", ".join(filter(None, [candidate.detail, f"with {libstdcxx}"])),
        preload=(libstdcxx, *candidate.preload),
        files=(libstdcxx, *candidate.files),
    )


def choose(
    host: HostCapabilities,
    request: OpenGLRequest,
    run_probe: Callable[[Candidate], ProbeResult],
    workarounds: Callable[[], Workarounds],
) -> Selection:
    """Choose the first candidate that draws on hardware, else the first that draws in software, else none.

    If only hardware or only software was asked for, the other is never chosen, and neither is a renderer without a
    name.

    :param run_probe: draws a test picture with a candidate; called for as few candidates as necessary.
    :param workarounds: looks up what may help if nothing has drawn; called only then.
    """
    attempts: list[tuple[Candidate, ProbeResult]] = []
    software: list[Candidate] = []

    def best_among(tried: Iterator[Candidate]) -> Candidate | None:
        for candidate in tried:
            # A second software renderer has no advantage.
            if candidate.name == "mesa" and software:
                continue
            result = run_probe(candidate)
            attempts.append((candidate, result))
            if request.backend == "software":
                if result.software:
                    return candidate
            elif result.hardware or (result.drawn and candidate.name == "virtualgl" and request.force_virtualgl):
                return candidate
            elif result.drawn and request.backend != "hardware":
                software.append(candidate)
        return None

    chosen = best_among(candidates(host, request))
    if chosen is None and not software:
        chosen = best_among(fallbacks(attempts, workarounds(), request))
    if chosen is None and software:
        # VirtualGL on a software renderer only adds a layer to it.
        chosen = next((candidate for candidate in software if candidate.name != "virtualgl"), software[0])
    return Selection(chosen, tuple(attempts))


def old_libstdcxx(messages: str) -> str:
    """Say that an older libstdc++ is in the way, if the libraries' *messages* say so."""
    if not any(word in messages for word in ("GLIBCXX", "CXXABI", "libstdc++.so")):
        return ""
    return (
        "The interpreter or LD_LIBRARY_PATH brings a libstdc++ that is older than the drivers need: update it "
        "(conda: libstdcxx-ng)."
    )


def advice(selection: Selection, no_gpu: str = "") -> str:
    """Say in a sentence or two what may help, when nothing has drawn, or nothing that was asked for.

    :param no_gpu: why no GPU draws, if that is known.
    """
    outcomes = {result.outcome for _, result in selection.attempts}
    messages = " ".join(result.message for _, result in selection.attempts)
    if not selection.attempts:  # only --gl virtualgl may have no candidate
        return "VirtualGL was not found on PATH, in /opt/VirtualGL or where ld.so looks. Install it, or use --gl auto."
    if sentence := old_libstdcxx(messages):
        return sentence
    if any(result.hardware for _, result in selection.attempts):
        return "Only a GPU has drawn. Install Mesa, which draws in software (Debian: libglx-mesa0 and libgl1-mesa-dri)."
    if any(result.software for _, result in selection.attempts):
        why = no_gpu or (
            "A GPU needs its driver, and an OpenGL that reaches it from here, such as VirtualGL's; "
            "LIBGL_ALWAYS_SOFTWARE must not be set."
        )
        return f"Only software has drawn. {why} --gl auto accepts software."
    if outcomes == {"not loaded"}:
        return "Another vendor's library drew instead: the one that was asked for is not installed, or can't be loaded."
    if "no library" in outcomes:
        return "Install libGL (Debian: libgl1 and libglx-mesa0)."
    if (
        "failed to load driver" in messages
        or ": cannot open shared object file" in messages
        or outcomes == {"no config"}
    ):
        return (
            "Install Mesa's drivers (Debian: libgl1-mesa-dri). If they are installed, they can't be loaded: check "
            "LIBGL_DRIVERS_PATH and LD_LIBRARY_PATH, and whether the interpreter brings a libstdc++ that is older than "
            "the drivers need (conda: update libstdcxx-ng)."
        )
    if "[VGL] ERROR" in messages:
        return no_gpu or (
            "VirtualGL can't render there: check --vgl-display and VGL_DISPLAY, and the groups video and render."
        )
    if outcomes <= {"no GLX"}:
        return (
            "The X server's parts of Mesa are missing (Debian: libgl1-mesa-dri) or not found (check "
            "LIBGL_DRIVERS_PATH), or --server-arg has switched GLX off."
        )
    if _BUS_ERROR in messages:
        return "Free some space: a bus error usually means that a disk is full, or /dev/shm (check with df)."
    if "hung" in outcomes:
        return "Give it more time with --probe-timeout. If a library hangs, check LD_PRELOAD and LD_LIBRARY_PATH."
    return (
        "Check LD_PRELOAD, LD_LIBRARY_PATH and variables that begin with LIBGL_, GALLIUM_ or MESA_, and whether all of "
        "Mesa is installed (Debian: libglx-mesa0 and libgl1-mesa-dri)."
    )
