"""Work for many launches at once: connect to the display, and check that no other program has used it."""

import ctypes
import os
import sys


def main() -> None:
    xlib = ctypes.CDLL("libX11.so.6")
    xlib.XOpenDisplay.restype = ctypes.c_void_p
    xlib.XVendorRelease.argtypes = [ctypes.c_void_p]
    xlib.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    xlib.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = xlib.XOpenDisplay(None)
    if not display:
        sys.exit("no display")
    if xlib.XInternAtom(display, b"_BENCH_WAS_HERE", 1):  # only if another program has made it
        sys.exit("another program's display")
    xlib.XInternAtom(display, b"_BENCH_WAS_HERE", 0)
    release = xlib.XVendorRelease(display)  # 12101007 is X.Org's 21.1.7
    xlib.XCloseDisplay(display)
    print(os.environ.get("DISPLAY", ""), os.getpid())
    print(f"X server: Xvfb {release // 100000 % 100}.{release // 1000 % 100}.{release % 1000}")
