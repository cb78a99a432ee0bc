"""Xorg, the X server of a real screen, with a driver that only pretends to have one."""

from __future__ import annotations

from anaheadless.options import DEPTHS, Screen
from anaheadless.x11.servers.kind import Descriptors, ServerCall, ServerKind

_DESCRIPTORS = Descriptors(configuration=6)
# Where distributions put the server itself. On PATH, there may be a wrapper that wants a console.
_PROGRAMS = ("/usr/lib/xorg/Xorg", "/usr/libexec/Xorg", "/usr/lib/Xorg", "Xorg")
_DRIVERS = tuple(f"/usr/{folder}/xorg/modules/drivers/dummy_drv.so" for folder in ("lib", "lib64"))

# The driver's pixel clock, in MHz. A mode with another one is ignored, and the screen gets another size.
MIN_CLOCK, MAX_CLOCK = 20.0, 290.0
REFRESH_RATE = 60


def command(call: ServerCall) -> list[str]:
    """Build the command line."""
    return [
        call.program,
        f":{call.number}",
        *("-config", f"/proc/self/fd/{_DESCRIPTORS.configuration}", "-configdir", "/nonexistent"),
        *("-quiet", "-logfile", "/dev/null"),
        *("-novtswitch", "-sharevts"),  # leave the consoles alone
        *(("-dpi", str(call.dpi)) if call.dpi else ()),
        *("-auth", f"/proc/self/fd/{_DESCRIPTORS.cookie}"),
        *(("-displayfd", str(_DESCRIPTORS.ready)) if call.activate else ()),
        *("-nolisten", "tcp"),
        "-noreset",
        *(() if call.glx else ("-extension", "GLX")),
        *call.extra,
    ]


def configure(screen: Screen) -> str:
    """Build the configuration file, see xorg.conf(5): a screen with one mode, and no devices of this machine."""
    width, height = screen.width, screen.height
    # The positions of the synchronisation pulses, which nothing listens to; they only have to rise.
    across, down = (width, width + 8, width + 16, width + 32), (height, height + 1, height + 2, height + 4)
    clock = min(max(across[-1] * down[-1] * REFRESH_RATE / 1e6, MIN_CLOCK), MAX_CLOCK)
    mode = f'"{width}x{height}"'
    return f"""\
Section "ServerFlags"
    Option "AutoAddDevices" "false"
    Option "AutoEnableDevices" "false"
    Option "AutoAddGPU" "false"
EndSection
Section "Device"
    Identifier "dummy"
    Driver "dummy"
    VideoRam {screen.memory // 1024 + 4096}
EndSection
Section "Monitor"
    Identifier "dummy"
    HorizSync 0.001-1000000
    VertRefresh 0.001-1000000
    Modeline {mode} {clock:.6f} {" ".join(map(str, across + down))}
EndSection
Section "Screen"
    Identifier "dummy"
    Device "dummy"
    Monitor "dummy"
    DefaultDepth {screen.depth}
    SubSection "Display"
        Depth {screen.depth}
        Modes {mode}
        Virtual {width} {height}
    EndSubSection
EndSection
"""


KIND = ServerKind(
    "xorg",
    _PROGRAMS,
    command,
    depths=DEPTHS,
    smallest=(256, 128),
    largest=(32752, 32767),
    modules=_DRIVERS,
    descriptors=_DESCRIPTORS,
    configure=configure,
)
