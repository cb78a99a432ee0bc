"""A report of what ``run`` would find on this machine: as data, and as lines for people."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from anaheadless import __version__, packages
from anaheadless.diagnostics import field_tools, inspection
from anaheadless.errors import LaunchError
from anaheadless.launch import requirements
from anaheadless.launch import run as launch
from anaheadless.opengl import causes, devices, hardware, offscreen, rendercheck
from anaheadless.opengl.candidates import Candidate, Selection, advice
from anaheadless.opengl.probe import run_probe
from anaheadless.options import INTERFACES, OpenGLRequest, Options
from anaheadless.system import file_types, png
from anaheadless.system.memfile import memory_file
from anaheadless.system.programs import find_program
from anaheadless.x11.servers.choice import KINDS
from anaheadless.x11.servers.kind import ServerKind, find

# For each tool, the option that prints its version, and whether it is required.
_TOOLS = {
    "Xvfb": (None, True),
    "xkbcomp": ("-version", True),
    "xdpyinfo": ("-version", False),
    "glxinfo": (None, False),
    "vglrun": ("--version", False),
    "x11vnc": ("-version", False),
    "ffmpeg": ("-version", False),
}
_TOOL_TIMEOUT = 15.0
_RENDER_HINT = "Give --render a file in a folder that you can write to, on a disk with space left."


class Finding(NamedTuple):
    """A line for people; *good* is None if the line is neither good nor bad."""

    section: str
    good: bool | None
    text: str


def examine(options: Options, environ: Mapping[str, str], python: str, picture: str | None = None) -> dict[str, Any]:
    """Make the report that docs/reference/doctor-json.rst describes; it can be written as JSON.

    :param picture: where to save the test picture of the chosen candidate, as PNG.
    :raises LaunchError: the picture can't be saved.
    """
    if picture is not None:
        _check_writable(picture)
    host, gpus = hardware.detect(environ), devices.find_gpus()
    report: dict[str, Any] = {
        "version": __version__,
        "tools": [_tool(name, environ, host, options) for name in _TOOLS],
        "python": {"path": python},
        "outer_display": host.outer_display,
        "gl_vendors": [name for name, found in (("mesa", host.mesa_vendor), ("nvidia", host.nvidia)) if found],
        "gpus": [{"path": path, "accessible": path in host.gpus} for path in hardware.node_paths()],
        "devices": [],
        "gpu": "",
        "egl_devices": [],
        "vulkan_devices": [],
        "offscreen": [],
        "servers": [],
        "virtualgl": host.virtualgl and {"folder": host.virtualgl.folder, "vglrun": host.virtualgl.vglrun},
        "mesa_folder": hardware.find_mesa(environ),
        "qt": [],
        "display": None,
        "candidates": [],
        "causes": [],
        "field_tools": [],
        "choice": None,
        "starts": False,
        "works": False,
        "advice": [],
    }
    report["servers"] = [_server(kind, options, environ, python) for kind in KINDS]
    try:
        ready = launch.prepare(options.replace(fresh=True), environ, python)
    except LaunchError as error:
        report["display"] = {"error": error.message, "details": list(error.details)}
        report["advice"].append(error.hint)
        report.update(_inspect(python, dict(environ), report["python"]))
        _add_offscreen(report, options, environ, python)
        add_devices(report, gpus)
        report["advice"] += _qt_advice(report["qt"])
        return report
    try:
        report["gpu"] = ready.gpu
        report["display"] = {
            "error": None,
            "screen": str(options.screen),
            "glx": ready.glx,
            "server": ready.server,
            "why": ready.server_reason,
        }
        report.update(_inspect(python, ready.environ, report["python"]))
        lacking = _add_offscreen(report, options, ready.environ, python)
        add_devices(report, gpus)
        machine = causes.Machine(tuple(gpus), environ, tuple(devices.own_groups()))
        if ready.selection is not None:
            no_gpu = " ".join(causes.why_not("glx", machine))
            add_selection(report, ready.selection, options.opengl or OpenGLRequest(), no_gpu)
            if picture is not None and ready.selection.chosen is not None:
                _save_picture(picture, ready.selection.chosen, python, ready.environ, options.probe_timeout)
        add_causes(report, machine, options.opengl)
        vglrun = host.virtualgl.vglrun if host.virtualgl else None
        for answer in field_tools.ask(ready.environ, vglrun, options.probe_timeout):
            notes = list(field_tools.disagreements(answer, report))
            report["field_tools"].append({**answer._asdict(), "notes": notes})
        draws = ready.selection is None or ready.selection.chosen is not None
        report["starts"] = draws and not lacking
        report["works"] = report["starts"] and not _broken_bindings(report["qt"])
        report["advice"] += _qt_advice(report["qt"])
    finally:
        ready.session.close()
    return report


def _server(kind: ServerKind, options: Options, environ: Mapping[str, str], python: str) -> dict[str, Any]:
    """Try a kind of X server: start it, and let OpenGL draw on it."""
    found: dict[str, Any] = {"name": kind.name, "path": find(kind, environ)}
    found.update(error=None, glx=None, renderer=None, seconds=None)
    if found["path"] is not None:
        start = time.monotonic()
        try:
            ready = launch.prepare(options.replace(fresh=True, server=kind.name), environ, python)
        except LaunchError as error:
            found["error"] = error.message
        else:
            found.update(glx=ready.glx, seconds=round(time.monotonic() - start, 3))
            if ready.selection is not None and ready.selection.result is not None:
                found["renderer"] = ready.selection.result.renderer
            ready.session.close()
    return found


def _save_picture(path: str, candidate: Candidate, python: str, environ: Mapping[str, str], timeout: float) -> None:
    """Draw the test picture once more, and save it.

    :raises LaunchError: it can't be drawn or saved.
    """
    with memory_file("picture") as pixels:
        result = run_probe(candidate, python, environ, timeout, f"/proc/{os.getpid()}/fd/{pixels.fileno()}")
        if not result.drawn:
            raise LaunchError(f"the picture can't be drawn: {result.message or result}", hint=_RENDER_HINT)
        row = 3 * rendercheck.SIZE
        rows = [os.pread(pixels.fileno(), row, row * number) for number in reversed(range(rendercheck.SIZE))]
    try:
        png.write_png(path, rendercheck.SIZE, rows)
    except OSError as error:
        raise LaunchError(f"the picture can't be saved: {path}: {error.strerror}", hint=_RENDER_HINT) from error


def findings(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Turn *report* into lines, section by section."""
    for tool in report["tools"]:
        text = " ".join(filter(None, [tool["path"], tool["version"]]))
        if tool["path"] is None:
            text = f"not found; {'required' if tool['required'] else 'optional'}. {tool['install']}"
        yield Finding(
            "tools", bool(tool["path"]) or (None if not tool["required"] else False), f"{tool['name']}: {text}"
        )
    display = report["display"]
    for server in report["servers"]:
        if server["path"] is None:
            good, text = None, "not installed"
        elif server["error"]:
            good, text = False, server["error"]
        else:
            draws = f"OpenGL by {server['renderer']}" if server["renderer"] else "no OpenGL"
            good, text = True, f"{server['path']}: starts, {draws}, {server['seconds']:.2f} s"
        yield Finding("X servers", good, f"{server['name']}: {text}")
    text = display["error"] or f"{display['screen']}, starts; {display['server']}: {display['why']}"
    yield Finding("display", not display["error"], text)
    for line in display.get("details", []):
        yield Finding("display", None, f"| {line}")
    if "glx" in display:
        yield Finding(
            "display",
            display["glx"] or (None if report["starts"] else False),
            f"GLX is {'' if display['glx'] else 'not '}advertised",
        )
    outer = report["outer_display"] or "not set, or not an X server on this machine that answers"
    yield Finding("display", None, f"your own DISPLAY: {outer}")

    yield Finding("OpenGL", bool(report["gl_vendors"]), f"GLX vendors: {', '.join(report['gl_vendors']) or 'none'}")
    for place, device in enumerate(report["devices"]):
        numbers = "".join(f" (EGL device egl{number})" for number in device["egl"])
        yield Finding(
            "OpenGL",
            device["usable"] or (None if device["draws"] is False else False),
            f"{place}: {device['label']}{numbers}",
        )
        for sentence in device["obstacles"]:
            yield Finding("OpenGL", None, f"| {sentence}")
    if report["gpu"]:
        yield Finding("OpenGL", None, f"GPU of this job: {report['gpu']}")
    if not report["devices"]:
        yield Finding("OpenGL", None, "GPUs: no device files")
    for number, device in enumerate(report["egl_devices"]):
        yield Finding(
            "OpenGL", None, f"EGL device egl{number}: {device['file'] or ('software' if device['software'] else '')}"
        )
    virtualgl = report["virtualgl"]
    yield Finding("OpenGL", None, f"VirtualGL: {virtualgl['folder'] if virtualgl else 'not installed'}")
    yield Finding("OpenGL", None, f"Mesa in a folder of its own: {report['mesa_folder'] or 'none'}")

    interpreter = report["python"]
    text = interpreter.get("error") or interpreter.get("version", "")
    yield Finding("target", False if "error" in interpreter else None, f"interpreter: {interpreter['path']} {text}")
    for binding in report["qt"]:
        lacks = ", ".join(map(_with_package, binding["missing"]))
        plugin = f"lacks {lacks}" if lacks else ("loads" if binding["xcb_plugin"] else "not found")
        yield Finding("target", plugin == "loads", f"{binding['name']}: xcb platform plugin {plugin}")
    for candidate in report["candidates"]:
        yield Finding("candidates", *_drawing(candidate["label"], candidate))
    for test in report["offscreen"]:
        label = f"{INTERFACES[test['interface']]} {test['way']}".rstrip()
        good, text = _drawing(label, test)
        yield Finding("EGL and Vulkan", good or None, text)  # few programs need them
    for answer in report["field_tools"]:
        told = field_tools.Answer(**{name: answer[name] for name in field_tools.Answer._fields})
        yield Finding("other tools", None, field_tools.in_words(told))
        for note in answer["notes"]:
            yield Finding("other tools", None, f"| {note}")
    for cause in report["causes"]:
        titles = ", ".join(INTERFACES[interface] for interface in cause["interfaces"])
        yield Finding("why not", None, f"{titles}: {cause['text']}")
    choice = report["choice"]
    kind = "hardware" if choice and choice["hardware"] else "software"
    text = f"would use {choice['label']}, {kind}: {choice['why']}" if choice else (
        "would start without OpenGL, as asked for" if report["starts"] else "would not start your program"
    )  # fmt: skip
    broken = _broken_bindings(report["qt"])
    if report["starts"] and broken:
        text += f"; but a program that uses {' or '.join(broken)} would abort"
    yield Finding("run", report["works"], text)
    for line in report["advice"]:
        yield Finding("advice", None, line)


def _drawing(label: str, test: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether a test has drawn, and its result in words."""
    drawn = test["result"] == "drawn"
    text = f"{test['result']}: {test['message']}"
    if drawn:
        text = f"{test['renderer']} ({'hardware' if test['hardware'] else 'software'})"
    return drawn, f"{label}: {text}, {test['seconds']:.2f} s"


def _tool(name: str, environ: Mapping[str, str], host: hardware.HostCapabilities, options: Options) -> dict[str, Any]:
    version_option, required = _TOOLS[name]
    if name == "Xvfb" and options.server != "xvfb":  # then any other X server will do
        required = options.server == "auto" and not any(find(kind, environ) for kind in KINDS if kind.name != "xvfb")
    path = find_program(name, os.get_exec_path(environ))
    if name == "vglrun" and host.virtualgl is not None:
        path = host.virtualgl.vglrun  # its folder is seldom on PATH
    version = None
    if path is not None and version_option is not None:
        try:
            version = next(iter(_output_of([path, version_option], environ).splitlines()), None)
        except (OSError, subprocess.TimeoutExpired) as error:
            version = str(error)
    return {
        "name": name,
        "path": path,
        "version": version,
        "required": required,
        "packages": packages.PACKAGES[name],
        "install": packages.install_hint(name),
    }


def _output_of(command: list[str], environ: Mapping[str, str]) -> str:
    """Run *command*; return what it prints to stdout and stderr."""
    return subprocess.run(
        command,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=_TOOL_TIMEOUT,
    ).stdout


def _inspect(python: str, environ: dict[str, str], interpreter: dict[str, Any]) -> dict[str, Any]:
    """Ask the target's interpreter for its version and Qt bindings."""
    try:
        # Only the last line: a sitecustomize may print something before.
        found = json.loads(_output_of([python, inspection.__file__], environ).strip().rpartition("\n")[2])
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        reason = "it does not answer as Python does" if isinstance(error, ValueError) else str(error)
        return {"python": {**interpreter, "error": reason}}
    return {
        "python": {**interpreter, "version": found["python"]},
        "qt": found["qt"],
    }


def _add_offscreen(report: dict[str, Any], options: Options, environ: Mapping[str, str], python: str) -> bool:
    """Add to *report* what EGL and Vulkan have drawn; return whether something is required that has not."""
    if "error" in report["python"]:
        return False
    lacking = False
    for interface in offscreen.DRAWN:
        found = offscreen.examine(interface, python, environ, options.probe_timeout)
        report[f"{interface}_devices"] = list(found.devices)
        report["offscreen"] += [
            {
                "interface": interface,
                "way": way,
                "result": result.outcome,
                "hardware": result.hardware,
                **{name: getattr(result, name) for name in ("message", "vendor", "renderer", "version", "seconds")},
            }
            for way, result in found.results
        ]
        if interface in options.require and (error := requirements.failure(found, options, environ)):
            lacking = True
            report["advice"].append(f"{error.message}. {error.hint}")
    return lacking


def add_selection(report: dict[str, Any], selection: Selection, request: OpenGLRequest, no_gpu: str = "") -> None:
    """Add to *report* what was tried, what was chosen and why, and what would be better.

    :param no_gpu: why no GPU draws, if that is known.
    """
    report["candidates"] = [
        {
            "name": candidate.name,
            "label": str(candidate),
            "variables": dict(candidate.variables),
            "preload": list(candidate.preload),
            "library_path": list(candidate.library_path),
            "hardware": result.hardware,
            "result": result.outcome,
            **{
                name: getattr(result, name)
                for name in ("message", "vendor", "renderer", "version", "direct", "seconds")
            },
        }
        for candidate, result in selection.attempts
    ]
    if selection.chosen is None or selection.result is None:
        report["advice"].append(advice(selection, no_gpu))
        return
    result = selection.result
    if request.backend == "software":
        why = "the first that draws in software"
    elif request.backend not in ("auto", "hardware"):
        why = "asked for, and it draws"
    elif result.hardware:
        why = "the first that draws on hardware"
    else:
        why = "the first that draws; none does on hardware"
        report["advice"] += _unused_gpu(report)
    if selection.chosen.warning:
        report["advice"].append(selection.chosen.warning)
    report["choice"] = {
        "name": selection.chosen.name,
        "label": str(selection.chosen),
        "renderer": result.renderer,
        "hardware": result.hardware,
        "why": why,
    }


def add_causes(report: dict[str, Any], machine: causes.Machine, request: OpenGLRequest | None) -> None:
    """Add to *report* why GLX, EGL and Vulkan draw on no GPU of *machine*, or draw nothing, each cause once."""
    tests = {name: [test for test in report["offscreen"] if test["interface"] == name] for name in offscreen.DRAWN}
    tests["glx"] = report["candidates"]
    found: dict[str, list[str]] = {}
    for interface in INTERFACES:
        known: list[str] = []
        software = interface == "glx" and request is not None and request.backend == "software"
        if not tests[interface] or software or any(test["hardware"] for test in tests[interface]):
            continue
        if machine.has_gpu:
            known = causes.why_not(interface, machine)
        elif not any(test["result"] == "drawn" for test in tests[interface]):
            known = causes.why_nothing(interface, machine)
        for sentence in known:
            found.setdefault(sentence, []).append(interface)
    said = " ".join(test["message"] for test in report["candidates"])
    if no_server := causes.no_3d_server(said, machine.root):
        found.setdefault(no_server, []).append("glx")
    report["causes"] = [{"interfaces": interfaces, "text": text} for text, interfaces in found.items()]


def _unused_gpu(report: Mapping[str, Any]) -> list[str]:
    """Say what to do where OpenGL on the display is software although there is a GPU."""
    by_egl = next((test for test in report["offscreen"] if test["interface"] == "egl" and test["hardware"]), None)
    if by_egl is None and not any(device["usable"] for device in report["devices"]):
        return []
    if by_egl is None:
        return ["There is a GPU, but no OpenGL that reaches it: neither GLX on the display nor EGL draws on it."]
    advice = (
        f"EGL draws on a GPU ({by_egl['renderer']}), but OpenGL on the display does not. With VirtualGL, every program "
        "here could use the GPU. Some draw through EGL by themselves: VTK from 9.4 on, and so PyVista, with --gl none; "
        "MuJoCo with MUJOCO_GL=egl; PyOpenGL with PYOPENGL_PLATFORM=egl. --require egl makes sure that EGL draws."
    )
    return [advice]


def add_devices(report: dict[str, Any], gpus: list[devices.Gpu]) -> None:
    """Add to *report* the table of *gpus*, with the numbers of their EGL devices, and how to get at them."""
    groups = devices.own_groups()
    files = [device["file"] for device in report["egl_devices"]]
    for gpu in gpus:
        found = {name: getattr(gpu, name) for name in ("address", "vendor", "driver", "uuid", "draws", "usable")}
        found["label"] = str(gpu)
        found["obstacles"] = list(devices.obstacles(gpu, groups))
        found["egl"] = devices.egl_numbers(gpu, files)
        found["nodes"] = [
            {
                "path": node.path,
                "mode": f"{node.mode:04o}",
                "group": devices.group_name(node.gid),
                "accessible": node.accessible,
            }
            for node in gpu.nodes
        ]
        report["devices"].append(found)
        if gpu.draws is not False:
            report["advice"] += found["obstacles"]


def _broken_bindings(bindings: list[dict[str, Any]]) -> list[str]:
    """List the bindings whose platform plugin can't be loaded, so that Qt would end the process."""
    return [binding["name"] for binding in bindings if binding["missing"] or not binding["xcb_plugin"]]


def _qt_advice(bindings: list[dict[str, Any]]) -> list[str]:
    """Say what to install for the platform plugins of *bindings*."""
    missing = sorted({library for binding in bindings for library in binding["missing"]})
    known = [library for library in missing if library in packages.PACKAGES]
    unknown = [library for library in missing if library not in packages.PACKAGES]
    without = [binding["name"] for binding in bindings if not binding["xcb_plugin"]]
    lines = []
    if known:
        lines.append(f"Libraries of Qt's xcb platform plugin are missing. {packages.install_hint(*known)}")
        if found := packages.manager():
            everything = f"{packages.INSTALL[found]} $(python3 -m anaheadless.packages {found})"
            lines.append(f"To install all that anaheadless, OpenGL and Qt need here: {everything}")
    if unknown:
        lines.append(f"Qt's xcb platform plugin needs {', '.join(unknown)}, too; the package is not known.")
    if without:
        lines.append(
            f"{' and '.join(without)}: there is no xcb platform plugin (libqxcb.so). Install it, or name its folder in "
            "QT_QPA_PLATFORM_PLUGIN_PATH."
        )
    return lines


def _with_package(library: str) -> str:
    """Add to *library* the package that provides it here, if that is known."""
    package = packages.PACKAGES.get(library, {}).get(packages.manager() or "", "-")
    return library if package == "-" else f"{library} (package {package})"


def _check_writable(path: str) -> None:
    """Check that a file can be written to *path*.

    :raises LaunchError: it can't, or *path* is named like another type of file.
    """
    file_types.check(path, file_types.PICTURE)
    is_new = not os.path.lexists(path)
    try:
        # O_NONBLOCK, so as not to wait for the reader of a FIFO.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o666))
    except OSError as error:
        message = f"the picture can't be saved: {path}: {error.strerror}"
        raise LaunchError(message, hint=_RENDER_HINT) from error
    if is_new:
        os.unlink(path)


def as_json(report: Mapping[str, Any]) -> str:
    return json.dumps(report, indent=2)
