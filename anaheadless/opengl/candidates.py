"""Which OpenGL the target gets: candidates, the proof of each, and the verdict. Nothing here touches the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

from anaheadless.opengl.hardware import HostCapabilities, VirtualGl, Workarounds
from anaheadless.options import OpenGLRequest
from anaheadless.system.light_stdlib import Record

# GL_RENDERER of what draws on the CPU. VirtualGL and the GLX vendor say nothing about it.
_SOFTWARE = (
    *("llvmpipe", "softpipe", "swrast", "swr", "lavapipe", "mesa x11", "mesa offscreen"),
    *("software rasterizer", "basic render driver"),
)

# What drivers say when an older libstdc++, brought by the interpreter, was loaded before theirs (conda-eda#312,
# spinalcordtoolbox#3927).
_LIBSTDCXX_WORDS = ("GLIBCXX", "CXXABI", "libstdc++", "failed to load driver")

# Mesa up to 23 at least maps its cache's index, and dies of SIGBUS when its disk has no room for that. The second name
# is that of Mesa before 22; with both of them set, no version complains of the old one.
_BUS_ERROR = "Bus error"
_WITHOUT_CACHE = MappingProxyType({"MESA_SHADER_CACHE_DISABLE": "true", "MESA_GLSL_CACHE_DISABLE": "true"})


class Candidate(Record):
    """A way to get OpenGL.

    :param name: one of BACKENDS.
    :param detail: in words, where there are several of that name.
    :param variables: to be set in the environment.
    :param preload: to stand first in LD_PRELOAD.
    :param library_path: to stand first in LD_LIBRARY_PATH.
    :param files: what must be there; ld.so only mutters about a missing preload, and runs the program without it.
    :param loads: a library that the proof must have loaded, by its name.
    :param load: what the process has to load first by itself, where it runs already and preload comes too late.
    :param warning: a line for the user when it is chosen; such a choice is not remembered.
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
    """What came of a candidate's picture.

    :param outcome: ``drawn``, or what failed: ``no display``, ``no library``, ``no GLX``, ``no config``, ``refused``,
        ``wrong pixels``, ``not saved`` (a file for the picture), ``not loaded``, ``crashed``, ``ended``, ``hung``,
        ``missing file``, ``not tried``.
    :param message: the reason, in the words of the library where it has any.
    :param seconds: how long the proof took.
    :param libraries: the paths of all libraries that drew.
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
        renderer = self.renderer.lower()
        return self.drawn and renderer != "" and not any(word in renderer for word in _SOFTWARE)

    def __str__(self) -> str:
        if self.drawn:
            return f"{self.renderer}, {'hardware' if self.hardware else 'software'}"
        return f"{self.outcome}: {self.message}" if self.message else self.outcome


class Selection(Record):
    """The candidate that the target gets, or None, and what was tried in which order."""

    chosen: Candidate | None
    attempts: tuple[tuple[Candidate, ProbeResult], ...] = ()

    @property
    def result(self) -> ProbeResult | None:
        return next((result for candidate, result in self.attempts if candidate is self.chosen), None)


def candidates(host: HostCapabilities, request: OpenGLRequest) -> Iterator[Candidate]:
    """The ways to get OpenGL here, in the order in which they are to be tried."""
    wanted = [request.backend] if request.backend != "auto" else ["virtualgl", "nvidia", "native", "mesa"]
    if "virtualgl" in wanted and request.virtualgl and request.preload and host.virtualgl is not None:
        for display in _vgl_displays(host, request):
            yield virtualgl(host.virtualgl, display, host.user, dlfaker=request.vgl_dlfaker)
    if "nvidia" in wanted and (host.nvidia or request.backend == "nvidia"):
        # libglvnd takes another vendor, without a word, where it can't load the one that is named.
        yield Candidate("nvidia", variables={"__GLX_VENDOR_LIBRARY_NAME": "nvidia"}, loads="libGLX_nvidia.so")
    if "native" in wanted:
        yield Candidate("native")
    if "mesa" in wanted and (host.mesa_vendor or request.backend == "mesa"):
        variables = {"__GLX_VENDOR_LIBRARY_NAME": "mesa", "LIBGL_ALWAYS_SOFTWARE": "1"}
        yield Candidate("mesa", "chosen by libglvnd", variables, loads="libGLX_mesa.so")


def _vgl_displays(host: HostCapabilities, request: OpenGLRequest) -> Sequence[str]:
    asked = request.vgl_display or host.user.get("VGL_DISPLAY")
    if asked:
        return [asked]
    found = [*(["egl"] if host.gpus else []), *([host.outer_display] if host.outer_display else [])]
    # Without a GPU or a 3D X server, there is a software EGL device at most: only for who insists.
    return found or (["egl"] if request.force_virtualgl or request.backend == "virtualgl" else [])


def virtualgl(installed: VirtualGl, display: str, user: Mapping[str, str], *, dlfaker: bool) -> Candidate:
    """VirtualGL rendering on *display*, preloaded as its own vglrun (3.1) does it.

    By name alone where ld.so finds that, so that 32-bit children find theirs; by path elsewhere, where vglrun would
    put the folder, and with a trailing colon the current one, into LD_LIBRARY_PATH.
    """
    suffix = "" if dlfaker else "-nodl"
    if dlfaker and user.get("VGL_FAKEOPENCL") == "1":
        suffix = "-opencl"
    names = [*(["libdlfaker.so"] if dlfaker else []), f"lib{installed.faker}{suffix}.so"]
    files = tuple(os.path.join(installed.folder, name) for name in names)
    # LD_PRELOAD knows no way to write a blank.
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
    """*candidate* for a program that runs already: what would be preloaded, it loads by itself.

    All but VirtualGL's interposer of dlopen(), which comes too late for that.
    """
    load = tuple(path for path in candidate.files if os.path.basename(path) != "libdlfaker.so")
    return candidate.replace(preload=(), library_path=(), load=load)


def fallbacks(
    attempts: Sequence[tuple[Candidate, ProbeResult]], workarounds: Workarounds, request: OpenGLRequest
) -> Iterator[Candidate]:
    """What is left to try when none of the *attempts* has drawn.

    :param attempts: may grow while this runs, by the candidates that it yields: one may need several repairs.
    """
    if request.preload and workarounds.mesa_folder is not None and request.backend in ("auto", "mesa"):
        library = os.path.join(workarounds.mesa_folder, "libGL.so.1")
        yield Candidate(
            "mesa",
            f"in {workarounds.mesa_folder}",
            {"LIBGL_ALWAYS_SOFTWARE": "1"},
            # LD_PRELOAD knows no way to write a blank; LD_LIBRARY_PATH then has to do.
            preload=() if " " in library else (library,),
            library_path=(workarounds.mesa_folder,),
            files=(library,),
            loads=os.path.join(os.path.realpath(workarounds.mesa_folder), "libGL.so"),
        )
    for candidate, result in attempts:
        repaired = _without_cache(candidate, result)
        if repaired is None and request.preload and workarounds.libstdcxx is not None:
            repaired = _with_libstdcxx(candidate, result, workarounds.libstdcxx)
        if repaired is not None:
            yield repaired


def _without_cache(candidate: Candidate, result: ProbeResult) -> Candidate | None:
    """*candidate* without Mesa's disk cache, if that may be why it crashed."""
    if result.outcome != "crashed" or not result.message.startswith(_BUS_ERROR) or candidate.warning:
        return None
    return candidate.replace(
        detail=", ".join(filter(None, [candidate.detail, "without Mesa's disk cache"])),
        variables={**candidate.variables, **_WITHOUT_CACHE},
        warning="Mesa crashed (bus error) until its shader cache was switched off, so this run does without the cache: "
        "is the disk of XDG_CACHE_HOME (default: ~/.cache) full?",
    )


def _with_libstdcxx(candidate: Candidate, result: ProbeResult, libstdcxx: str) -> Candidate | None:
    """*candidate* with the system's libstdc++ in front, if an older one may be in its way."""
    if libstdcxx in candidate.files or not any(word in result.message for word in _LIBSTDCXX_WORDS):
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
    """Hardware that proves itself before software that proves itself, and nothing that does not.

    :param prove: draws a picture with a candidate; asked for as few as will do.
    :param repairs: asked only when nothing has drawn.
    """
    attempts: list[tuple[Candidate, ProbeResult]] = []
    software: list[Candidate] = []

    def hardware_among(tried: Iterator[Candidate]) -> Candidate | None:
        for candidate in tried:
            # Another software renderer is no gain; VirtualGL on one only adds a layer.
            if candidate.name == "mesa" and software:
                continue
            result = run_probe(candidate)
            attempts.append((candidate, result))
            if result.hardware or (result.drawn and candidate.name == "virtualgl" and request.force_virtualgl):
                return candidate
            if result.drawn:
                software.append(candidate)
        return None

    chosen = hardware_among(candidates(host, request))
    if chosen is None and not software:
        chosen = hardware_among(fallbacks(attempts, workarounds(), request))
    if chosen is None and software:
        chosen = next((candidate for candidate in software if candidate.name != "virtualgl"), software[0])
    return Selection(chosen, tuple(attempts))


def advice(selection: Selection) -> str:
    """What would help, in a sentence or two, when nothing has drawn."""
    results = {result.outcome for _, result in selection.attempts}
    words = " ".join(result.message for _, result in selection.attempts)
    if not selection.attempts:  # only virtualgl has nothing to try
        return "VirtualGL is looked for on PATH, in /opt/VirtualGL and where ld.so looks. Choose another, or --gl auto."
    if any(word in words for word in ("GLIBCXX", "CXXABI", "libstdc++.so")):
        return (
            "The interpreter or LD_LIBRARY_PATH brings a libstdc++ that is older than the drivers': update it "
            "(conda: libstdcxx-ng)."
        )
    if "no library" in results:
        return "Install libGL (Debian: libgl1 and libglx-mesa0)."
    if "failed to load driver" in words or ": cannot open shared object file" in words or results == {"no config"}:
        return (
            "Install Mesa's drivers (Debian: libgl1-mesa-dri). If they are installed, they can't be loaded: see "
            "LIBGL_DRIVERS_PATH and LD_LIBRARY_PATH, and whether the interpreter brings a libstdc++ that is older than "
            "the drivers' (conda: update libstdcxx-ng)."
        )
    if "[VGL] ERROR" in words:
        return "VirtualGL can't render there: see --vgl-display and VGL_DISPLAY, and the groups video and render."
    if results == {"not loaded"}:
        return "Another vendor's library drew instead: the one that was asked for is not installed, or can't be loaded."
    if results <= {"no GLX"}:
        return (
            "Its parts of Mesa are missing (Debian: libgl1-mesa-dri) or not found (see LIBGL_DRIVERS_PATH), or "
            "--server-arg has switched GLX off."
        )
    if _BUS_ERROR in words:
        return "Free some space: a bus error usually means that a disk is full, or /dev/shm (see df)."
    if "hung" in results:
        return "Give it more time with --probe-timeout; or a library hangs: see LD_PRELOAD and LD_LIBRARY_PATH."
    return (
        "See LD_PRELOAD, LD_LIBRARY_PATH and variables that begin with LIBGL_, GALLIUM_ or MESA_, and whether all of "
        "Mesa is installed (Debian: libglx-mesa0 and libgl1-mesa-dri)."
    )
