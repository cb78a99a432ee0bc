"""Work for ends and memory: connect to the display, print it, and run until standard input ends."""

import ctypes
import os
import sys


def main() -> None:
    xlib = ctypes.CDLL("libX11.so.6")
    xlib.XOpenDisplay.restype = ctypes.c_void_p
    if not xlib.XOpenDisplay(None):
        sys.exit("no display")
    print(os.environ.get("DISPLAY", ""), os.getpid(), flush=True)
    sys.stdin.read()
