"""Fill the root window with a colour, say so, and once told to, print the display and the colour that is there."""

from __future__ import annotations

import os
import sys
from ctypes import CDLL, c_int, c_ulong, c_void_p

x11 = CDLL("libX11.so.6")
for function in x11.XOpenDisplay, x11.XCreateGC, x11.XGetImage:
    function.restype = c_void_p
for function in x11.XDefaultRootWindow, x11.XGetPixel:
    function.restype = c_ulong
x11.XGetImage.argtypes = [c_void_p, c_ulong, c_int, c_int, c_int, c_int, c_ulong, c_int]
Z_PIXMAP = 2

display = c_void_p(x11.XOpenDisplay(None))
root = c_ulong(x11.XDefaultRootWindow(display))
context = c_void_p(x11.XCreateGC(display, root, c_ulong(0), None))
x11.XSetForeground(display, context, c_ulong(int(sys.argv[1])))
x11.XFillRectangle(display, root, context, 0, 0, 1280, 1024)
x11.XSync(display, 0)
print("painted", flush=True)
sys.stdin.readline()
image = c_void_p(x11.XGetImage(display, root, 600, 500, 1, 1, 0xFFFFFFFF, Z_PIXMAP))
print(os.environ["DISPLAY"], x11.XGetPixel(image, 0, 0))
