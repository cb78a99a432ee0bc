"""What the usual tools say of OpenGL, EGL and Vulkan in a session, beside the tests of anaheadless."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from anaheadless.launch.environment import with_opengl
from anaheadless.opengl.candidates import Candidate, ProbeResult
from anaheadless.opengl.probe import CommandResult, run_command
from anaheadless.system.programs import find_program

COMMANDS = (
    *("xdpyinfo", "glxinfo -B", "vglrun xdpyinfo", "vglrun glxinfo -B"),
    *("eglinfo -B", "vulkaninfo --summary"),
)
# The lines that name what draws, by the tool's name.
_RENDERERS = {
    "glxinfo": r"^OpenGL renderer string: (.+)",
    "eglinfo": r"^(?:OpenGL .*renderer(?: string)?|EGL driver name): (.+)",
    "vulkaninfo": r"^\s*deviceName\s*= (.+)",
}


class Answer(NamedTuple):
    """What a tool has said.

    :param status: its exit status; None if it did not end in time.
    :param glx: whether it has listed GLX, if that is what it tells.
    :param renderers: what draws, each once.
    :param message: its last line on standard error, if it has named nothing that draws.
    """

    command: str
    status: int | None
    glx: bool | None
    renderers: tuple[str, ...]
    message: str
    seconds: float


def ask(
    environ: Mapping[str, str], vglrun: str | None, timeout: float, commands: Sequence[str] = COMMANDS
) -> Iterator[Answer]:
    """Ask each tool that is installed, in the environment of a session.

    :param vglrun: the path of vglrun, which is seldom on PATH.
    :param timeout: seconds that a tool may take.
    """
    search = os.get_exec_path(environ)
    without_virtualgl = with_opengl(environ, Candidate("none"))  # vglrun brings its own libraries
    for command in commands:
        words = command.split()
        paths = [vglrun if word == "vglrun" else find_program(word, search) for word in words if word[0] != "-"]
        if None in paths:
            continue
        call = [str(path) for path in paths] + [word for word in words if word[0] == "-"]
        start = time.monotonic()
        try:
            ended = run_command(call, without_virtualgl if words[0] == "vglrun" else environ, timeout)
        except OSError as error:
            ended = CommandResult(126, "", str(error))
        yield parse(command, ended, time.monotonic() - start)


def in_words(answer: Answer) -> str:
    """Say in one line what a tool has answered."""
    said = ", ".join(answer.renderers) or answer.message or "nothing that draws"
    if answer.glx is not None:
        said = f"GLX is {'' if answer.glx else 'not '}listed"
    # Debian's eglinfo has another status than 0 if any platform is missing.
    ended = "" if answer.renderers or answer.status == 0 else f" (status {answer.status})"
    if answer.status is None:
        ended = " (no end in time)"
    return f"{answer.command}: {said}{ended}, {answer.seconds:.2f} s"


def parse(command: str, ended: CommandResult, seconds: float = 0.0) -> Answer:
    """Make an answer of a tool's output; a pure function."""
    tool = command.removeprefix("vglrun ").partition(" ")[0]
    glx = bool(re.search(r"^\s*GLX\s*$", ended.output, re.MULTILINE)) if tool == "xdpyinfo" else None
    pattern = _RENDERERS.get(tool)
    renderers = dict.fromkeys(re.findall(pattern, ended.output, re.MULTILINE)) if pattern else {}
    lines = [line.strip() for line in (ended.errors or ended.output).splitlines() if line.strip()]
    message = lines[-1] if lines and not glx and not renderers else ""
    return Answer(command, ended.status, glx, tuple(name.strip() for name in renderers), message, seconds)


def disagreements(answer: Answer, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield where *answer* disagrees with the tests in doctor's *report*, and what that usually means."""
    choice = report["choice"]
    drawn = [test for test in report["offscreen"] if test["result"] == "drawn"]
    if answer.status is None:
        yield "It hangs, and so would other programs: a driver, or VirtualGL's 3D X server, does not answer."
    elif answer.command == "xdpyinfo" and answer.glx and report["candidates"] and choice is None:
        yield "It lists GLX, which only means that the X server has it: the libraries of this side have not drawn."
    elif answer.command == "vglrun xdpyinfo" and answer.glx:
        yield "This proves nothing: under VirtualGL, it lists GLX always."
    elif answer.command == "glxinfo -B" and choice is not None and choice["renderer"] not in answer.renderers:
        yield (
            f"The test has drawn with {choice['renderer']}: usually, your program's interpreter brings other "
            "libraries, or glxinfo finds no visual on this screen."
        )
    elif answer.command == "vglrun glxinfo -B" and choice is not None and not choice["hardware"] and _hardware(answer):
        yield (
            "VirtualGL reaches a GPU that no test has reached: use --gl virtualgl, with the --vgl-display that vglrun "
            "has; --no-virtualgl must not be set."
        )
    elif answer.command == "eglinfo -B":
        yield from _about_hardware(answer, [test for test in drawn if test["interface"] == "egl"])
    elif answer.command == "vulkaninfo --summary":
        named = {test["renderer"] for test in drawn if test["interface"] == "vulkan"}
        if named != set(answer.renderers):
            yield (
                f"The test has drawn with {', '.join(sorted(named)) or 'nothing'}: usually, a device is listed that "
                "can't draw, or your program's interpreter brings another libvulkan."
            )


def _about_hardware(answer: Answer, drawn: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    ours = any(test["hardware"] for test in drawn)
    if answer.renderers and ours != _hardware(answer):
        yield (
            f"The test has drawn {'on a GPU' if ours else 'only in software, or nothing'}: usually, eglinfo has asked "
            "a platform with windows, or names a driver that then does not draw."
        )


def _hardware(answer: Answer) -> bool:
    return any(ProbeResult("drawn", renderer=name).hardware for name in answer.renderers)
