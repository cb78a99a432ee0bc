"""What a program requires beside the OpenGL of its display: EGL and Vulkan that draw."""

from __future__ import annotations

from collections.abc import Mapping

from anaheadless.errors import LaunchError, print_stderr
from anaheadless.opengl import causes, offscreen
from anaheadless.opengl.candidates import old_libstdcxx
from anaheadless.opengl.offscreen import Offscreen
from anaheadless.options import INTERFACES, Options

PACKAGES = {"egl": "libegl1 and libegl-mesa0", "vulkan": "libvulkan1 and mesa-vulkan-drivers"}


def check(options: Options, python: str, environ: Mapping[str, str]) -> None:
    """Check that all that is required draws in the target's interpreter and environment.

    GLX has been tested before.

    :raises LaunchError: something does not.
    """
    for interface in offscreen.DRAWN:
        if interface in options.require:
            first = wanted_hardware(options) is None
            ways = _ways(environ) if interface == "egl" else ()
            found = offscreen.examine(interface, python, environ, options.probe_timeout, ways=ways, first=first)
            if options.verbose:
                for line in found.lines():
                    print_stderr(f"anaheadless: {line}")
            if error := failure(found, options, environ):
                raise error


def _ways(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the EGL device that programs are told to use, if they are; another one is no proof then."""
    number = environ.get("MUJOCO_EGL_DEVICE_ID") or environ.get("VTK_DEFAULT_EGL_DEVICE_INDEX") or ""
    return (f"device {number}",) if number.isdecimal() and len(number) < 4 else ()


def wanted_hardware(options: Options) -> bool | None:
    """Return whether what is required must be on hardware, or in software; None if it may be either."""
    return {"hardware": True, "software": False}.get(options.opengl.backend if options.opengl else "")


def failure(found: Offscreen, options: Options, environ: Mapping[str, str]) -> LaunchError | None:
    """Return the error that says that *found* is not what is required, or None if it is."""
    wanted, title = wanted_hardware(options), INTERFACES[found.interface]
    if found.drawn(wanted):
        return None
    message = f"no {title}: nothing could be drawn"
    hint = f"Install it (Debian: {PACKAGES[found.interface]}), or a driver for your GPU that has it."
    if found.drawn():
        message = f"no {title} on hardware" if wanted else f"no {title} in software"
        hint = "A GPU needs its own driver." if wanted else "Only a GPU has drawn."
    machine, known = causes.this_machine(environ), []
    if wanted:
        known = causes.why_not(found.interface, machine)
    elif not found.drawn():
        known = causes.why_nothing(found.interface, machine)
    said = " ".join(result.message for _, result in found.results)
    hint = old_libstdcxx(said) or " ".join(known) or hint
    return LaunchError(
        message,
        details=tuple(found.lines()),
        hint=f"{hint} To go without {title}: leave out --require {found.interface}. To see more: anaheadless doctor.",
    )
