"""A test of OpenGL: draws a picture through GLX, reads its pixels back, and prints which library drew it.

It runs alone, in the target's own interpreter and environment, with the standard library of Python 3.8 or newer:
``python -s -S rendercheck.py [SECONDS PIXEL_FILE [LIBRARY]...]``. After SECONDS an alarm ends it (0: no alarm). It
writes the pixels to PIXEL_FILE, in the format of :func:`draw`, unless that is empty. It loads each LIBRARY before all
others. It prints its findings to standard output, one ``name: value`` line each:

========= ======================================================================================
result    ``drawn``, or what failed: ``no library``, ``no display``, ``no GLX``, ``no config``,
          ``refused`` (the context), ``wrong pixels``
message   the X error, the pixels that were wrong, or why the vendor's library can't be loaded; the latter
          even if another vendor's has drawn
vendor    of the GLX client library ("VirtualGL" under VirtualGL, whatever the renderer)
renderer  GL_RENDERER, and likewise ``version``
direct    ``yes`` or ``no``
libraries the libraries that were loaded then, separated by colons
========= ======================================================================================

If a library crashes the process, there is no ``result`` line, but the library's message on standard error, and an exit
status or a signal.

Sources: GLX 1.4 and Xlib specifications; the numbers are those of <GL/gl.h>, <GL/glx.h> and <X11/X.h>.
"""

from __future__ import annotations

import os
import signal
import sys
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    RTLD_GLOBAL,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_float,
    c_int,
    c_long,
    c_ubyte,
    c_uint,
    c_ulong,
    c_void_p,
    create_string_buffer,
)

SIZE = 128
BACKGROUND = (0.2, 0.4, 0.6)
FOREGROUND = (1.0, 0.6, 0.2)
TOLERANCE = 16  # of 255: a screen of 16 bits has steps of 8

GLX_RGBA, GLX_DOUBLEBUFFER, GLX_RED_SIZE, GLX_GREEN_SIZE, GLX_BLUE_SIZE, GLX_DEPTH_SIZE = 4, 5, 8, 9, 10, 12
GLX_VENDOR = 1
GL_TRIANGLES, GL_COLOR_BUFFER_BIT, GL_RGB, GL_UNSIGNED_BYTE, GL_PACK_ALIGNMENT = 4, 0x4000, 0x1907, 0x1401, 0x0D05
GL_RENDERER, GL_VERSION = 0x1F01, 0x1F02
ALLOC_NONE, INPUT_OUTPUT, CW_BORDER_PIXEL, CW_OVERRIDE_REDIRECT, CW_COLORMAP = 0, 1, 1 << 3, 1 << 9, 1 << 13


PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class VisualInfo(Structure):
    """XVisualInfo."""

    _fields_ = [
        ("visual", c_void_p),
        ("visualid", c_ulong),
        ("screen", c_int),
        ("depth", c_int),
        ("c_class", c_int),
        ("masks", c_ulong * 3),
        ("colormap_size", c_int),
        ("bits_per_rgb", c_int),
    ]


class WindowAttributes(Structure):
    """XSetWindowAttributes."""

    _fields_ = [
        ("background_pixmap", c_ulong),
        ("background_pixel", c_ulong),
        ("border_pixmap", c_ulong),
        ("border_pixel", c_ulong),
        ("bit_gravity", c_int),
        ("win_gravity", c_int),
        ("backing_store", c_int),
        ("backing_planes", c_ulong),
        ("backing_pixel", c_ulong),
        ("save_under", c_int),
        ("event_mask", c_long),
        ("do_not_propagate_mask", c_long),
        ("override_redirect", c_int),
        ("colormap", c_ulong),
        ("cursor", c_ulong),
    ]


class ErrorEvent(Structure):
    """XErrorEvent."""

    _fields_ = [
        ("type", c_int),
        ("display", c_void_p),
        ("resourceid", c_ulong),
        ("serial", c_ulong),
        ("error_code", c_ubyte),
        ("request_code", c_ubyte),
        ("minor_code", c_ubyte),
    ]


class DrawingError(Exception):
    """A picture that could not be drawn; the arguments are the result and the message."""


x_errors: list[str] = []


@CFUNCTYPE(c_int, c_void_p, POINTER(ErrorEvent))
def record_x_error(display, event):  # type: ignore[no-untyped-def]
    """Record an X error; Xlib's own handler would end the process with a status that tells nothing."""
    text = create_string_buffer(200)
    functions.XGetErrorText(c_void_p(display), c_int(event[0].error_code), text, len(text))
    codes = f"error {event[0].error_code}, request {event[0].request_code}.{event[0].minor_code}"
    x_errors.append(f"{text.value.decode(errors='replace')} ({codes})")
    return 0


def load_first(library: str) -> None:
    """Load *library* before all others, as a preload would.

    :raises OSError: it can't be loaded.
    """
    try:
        CDLL(library, RTLD_GLOBAL)
    except OSError:
        # A Mesa in a folder that ld.so does not search does not find its own libraries.
        part = os.path.join(os.path.dirname(library), "libglapi.so.0")
        if not os.path.isfile(part):
            raise
        CDLL(part, RTLD_GLOBAL)
        CDLL(library, RTLD_GLOBAL)


def load() -> CDLL:
    """Load libX11 and libGL, and return their functions as a program that is linked with them finds them.

    The functions are looked up in the whole process, because a preloaded faker replaces those of the libraries.
    """
    for name in "libX11.so.6", "libGL.so.1":
        try:
            CDLL(name, RTLD_GLOBAL)
        except OSError as error:
            raise DrawingError("no library", str(error)) from error
    found = CDLL(None)
    for name, result in {
        "XOpenDisplay": c_void_p,
        "XRootWindow": c_ulong,
        "XCreateColormap": c_ulong,
        "XCreateWindow": c_ulong,
        "glXChooseVisual": POINTER(VisualInfo),
        "glXCreateContext": c_void_p,
        "glXGetClientString": c_char_p,
        "glGetString": c_char_p,
    }.items():
        getattr(found, name).restype = result
    return found


def preload_mesa() -> None:
    """Load the system's Mesa, which most often draws, while the X server may still be starting.

    Do so only if no variable asks for another library: the loaded libraries show later which one has drawn.
    """
    if any(name.startswith(("LD_", "LIBGL_", "MESA_", "GALLIUM_", "__GLX_")) for name in os.environ):
        return
    try:
        CDLL("libGLX_mesa.so.0")
        for folder in {os.path.dirname(path) for path in loaded_libraries() if "/libGLX_mesa.so" in path}:
            CDLL(f"{folder}/dri/swrast_dri.so")  # up to Mesa 24.1, with all that it draws with
    except OSError:
        pass


def loader_error() -> str:
    """Say why the vendor's library can't be loaded, if libglvnd has not loaded it: libglvnd doesn't report it."""
    loaded, named = loaded_libraries(), os.environ.get("__GLX_VENDOR_LIBRARY_NAME", "")
    if any(f"/libGLX_{named}" in path for path in loaded) or not any("/libGLX.so" in path for path in loaded):
        return ""
    try:
        CDLL(f"libGLX_{named or 'mesa'}.so.0")
    except OSError as error:
        return str(error)
    return ""


def draw() -> tuple[dict[str, str], bytes]:
    """Draw the picture.

    :return: details of the OpenGL that drew, and the pixels: SIZE rows of SIZE RGB triples, the lowest row first.
    """
    gl = functions
    display = c_void_p(gl.XOpenDisplay(None))
    if not display:
        raise DrawingError("no display", "the display can't be opened")
    gl.XSetErrorHandler(record_x_error)
    if not gl.glXQueryExtension(display, None, None):
        raise DrawingError("no GLX", "the X server has no GLX")
    screen = c_int(gl.XDefaultScreen(display))
    sizes = (GLX_RED_SIZE, 1, GLX_GREEN_SIZE, 1, GLX_BLUE_SIZE, 1, GLX_DEPTH_SIZE, 1)
    wanted = (c_int * 11)(GLX_RGBA, GLX_DOUBLEBUFFER, *sizes, 0)
    visual = gl.glXChooseVisual(display, screen, wanted)
    if not visual:
        raise DrawingError("no config", "there is no double-buffered RGB visual with depth")
    context = c_void_p(gl.glXCreateContext(display, visual, None, c_int(1)))
    gl.XSync(display, 0)
    if not context or x_errors:
        raise DrawingError("refused", "; ".join(x_errors) or "glXCreateContext gave none")

    root = c_ulong(gl.XRootWindow(display, screen))
    attributes = WindowAttributes(override_redirect=1)
    attributes.colormap = gl.XCreateColormap(display, root, c_void_p(visual[0].visual), ALLOC_NONE)
    mask = c_ulong(CW_BORDER_PIXEL | CW_OVERRIDE_REDIRECT | CW_COLORMAP)
    geometry = (0, 0, SIZE, SIZE, 0)
    depth, window_class = c_int(visual[0].depth), c_uint(INPUT_OUTPUT)
    window = c_ulong(
        gl.XCreateWindow(
            display, root, *geometry, depth, window_class, c_void_p(visual[0].visual), mask, byref(attributes)
        )
    )
    gl.XMapWindow(display, window)
    if not gl.glXMakeCurrent(display, window, context) or x_errors:
        gl.XSync(display, 0)
        raise DrawingError("refused", "; ".join(x_errors) or "glXMakeCurrent failed")

    paint()
    pixels = (c_ubyte * (3 * SIZE * SIZE))()
    gl.glPixelStorei(GL_PACK_ALIGNMENT, 1)
    gl.glReadPixels(0, 0, SIZE, SIZE, GL_RGB, GL_UNSIGNED_BYTE, pixels)
    gl.glXSwapBuffers(display, window)
    gl.XSync(display, 0)
    if x_errors:
        raise DrawingError("refused", "; ".join(x_errors))
    details = {
        "vendor": decoded(gl.glXGetClientString(display, GLX_VENDOR)),
        "renderer": decoded(gl.glGetString(GL_RENDERER)),
        "version": decoded(gl.glGetString(GL_VERSION)),
        "direct": "yes" if gl.glXIsDirect(display, context) else "no",
        "libraries": ":".join(loaded_libraries()),
    }
    return details, bytes(pixels)


def paint() -> None:
    """Draw a triangle on a background, so that the pixels show whether OpenGL clears and draws."""
    gl = functions
    gl.glViewport(0, 0, SIZE, SIZE)
    gl.glClearColor(*map(c_float, BACKGROUND), c_float(1.0))
    gl.glClear(GL_COLOR_BUFFER_BIT)
    gl.glColor3d(*map(c_double, FOREGROUND))
    gl.glBegin(GL_TRIANGLES)
    for x, y in (-0.8, -0.8), (0.8, -0.8), (0.0, 0.8):
        gl.glVertex2d(c_double(x), c_double(y))
    gl.glEnd()
    gl.glFinish()


def check(pixels: bytes) -> None:
    """Check that the corner shows the background and the middle the triangle.

    :raises DrawingError: they do not.
    """
    for what, x, y, colour in ("corner", 2, 2, BACKGROUND), ("middle", SIZE // 2, SIZE // 2, FOREGROUND):
        start = 3 * (y * SIZE + x)
        seen, expected = tuple(pixels[start : start + 3]), tuple(round(255 * part) for part in colour)
        if any(abs(a - b) > TOLERANCE for a, b in zip(seen, expected)):
            raise DrawingError("wrong pixels", f"{what}: {seen} was read back where {expected} was drawn")


def loaded_libraries() -> list[str]:
    """List the libraries in this process."""
    with open("/proc/self/maps", errors="backslashreplace") as maps:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in maps if ".so" in line}
    return sorted(paths)


def decoded(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def main(pixel_file: str, libraries: list[str]) -> int:
    global functions
    findings: dict[str, str] = {}
    try:
        try:
            for library in libraries:
                load_first(library)
        except OSError as error:
            raise DrawingError("no library", str(error)) from error
        functions = load()
        preload_mesa()
        findings, pixels = draw()
        if pixel_file:
            with open(pixel_file, "wb") as file:
                file.write(pixels)
        check(pixels)
        findings["result"] = "drawn"
        findings["message"] = loader_error()  # of a vendor that was named, but another one has drawn
    except DrawingError as failure:
        findings["result"], message = failure.args
        reason = loader_error() if findings["result"] in ("no GLX", "no config", "refused") else ""
        findings["message"] = "; ".join(filter(None, (message, reason)))
    for name, value in findings.items():
        print(f"{name}: {' '.join(value.split())}")
    return 0 if findings["result"] == "drawn" else 1


functions: CDLL

if __name__ == "__main__":
    seconds, pixel_file, *libraries = sys.argv[1:] or ("0", "")
    signal.alarm(int(seconds))
    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # once the parent has ended, nobody needs the result
    status = main(pixel_file, libraries)
    sys.stdout.flush()
    os._exit(status)  # not sys.exit(): a driver's own clean-up may crash after the result has been printed
