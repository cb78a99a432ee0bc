"""A report on the target's interpreter for the doctor: EGL devices and Qt bindings, as JSON on standard output.

It runs alone, as ``python inspection.py``, in the target's interpreter and environment. It does not import Qt: Qt ends
the process if it can't load its platform plugin. So this only looks for the plugin's file, and for missing libraries.

Sources: EGL_EXT_device_enumeration, EGL_EXT_device_query, EGL_EXT_device_drm.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import subprocess
import sys
from ctypes import CDLL, CFUNCTYPE, byref, c_char_p, c_int, c_void_p

BINDINGS = ("PyQt5", "PyQt6", "PySide2", "PySide6")
# The folders of Qt's plugins: in bindings from PyPI and conda, and in those of the distributions.
PLUGINS = ("Qt5/plugins", "Qt6/plugins", "Qt/plugins", "plugins")
SYSTEM_PLUGINS = ("/usr/lib/*/qt{}/plugins", "/usr/lib64/qt{}/plugins", "/usr/lib/qt{}/plugins", "/usr/lib/qt/plugins")
EGL_EXTENSIONS, EGL_DRM_DEVICE_FILE_EXT = 0x3055, 0x3233


def egl_devices() -> list[dict[str, object]]:
    """List the EGL devices in their order, as VirtualGL numbers them: egl0, egl1, and so on."""
    try:
        egl = CDLL("libEGL.so.1")
    except OSError:
        return []
    egl.eglGetProcAddress.restype = c_void_p
    query_devices = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    query_string = egl.eglGetProcAddress(b"eglQueryDeviceStringEXT")
    if not query_devices or not query_string:
        return []
    devices, count = (c_void_p * 32)(), c_int()
    if not CFUNCTYPE(c_int, c_int, c_void_p, c_void_p)(query_devices)(32, devices, byref(count)):
        return []
    text = CFUNCTYPE(c_char_p, c_void_p, c_int)(query_string)
    found: list[dict[str, object]] = []
    for device in devices[: count.value]:
        extensions = (text(device, EGL_EXTENSIONS) or b"").decode().split()
        file = text(device, EGL_DRM_DEVICE_FILE_EXT) if "EGL_EXT_device_drm" in extensions else None
        found.append({"file": file.decode() if file else None, "software": "EGL_MESA_device_software" in extensions})
    return found


def qt_bindings() -> list[dict[str, object]]:
    """List the Qt bindings that are installed, and the libraries that their xcb platform plugins lack."""
    found: list[dict[str, object]] = []
    for name in BINDINGS:
        spec = importlib.util.find_spec(name)
        # Without an origin, it is only a folder: left over from an uninstalled binding, or with only sip in it.
        if spec is None or spec.origin is None or not spec.submodule_search_locations:
            continue
        folder = spec.submodule_search_locations[0]
        plugin = xcb_plugin(folder, "5" if name[-1] in "52" else "6")
        found.append({"name": name, "folder": folder, "xcb_plugin": plugin, "missing": missing_libraries(plugin)})
    return found


def xcb_plugin(folder: str, major: str) -> str | None:
    patterns = [os.path.join(folder, plugins) for plugins in PLUGINS]
    patterns += [os.path.join(sys.prefix, "lib", f"qt{major}", "plugins"), os.path.join(sys.prefix, "plugins")]
    patterns += [pattern.format(major) for pattern in SYSTEM_PLUGINS]
    patterns += os.environ.get("QT_PLUGIN_PATH", "").split(":")
    folders = [os.path.join(pattern, "platforms") for pattern in patterns if pattern]
    folders += os.environ.get("QT_QPA_PLATFORM_PLUGIN_PATH", "").split(":")
    found = (path for pattern in folders if pattern for path in glob.glob(os.path.join(pattern, "libqxcb.so")))
    return next(found, None)


def missing_libraries(plugin: str | None) -> list[str]:
    """List the libraries of *plugin* that ld.so does not find, by their sonames."""
    if plugin is None:
        return []
    try:
        command = ["ldd", plugin]
        output = os.fsdecode(subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10).stdout)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted({line.split()[0] for line in output.splitlines() if line.endswith("=> not found")})


if __name__ == "__main__":
    version = ".".join(map(str, sys.version_info[:3]))
    print(json.dumps({"python": version, "egl_devices": egl_devices(), "qt": qt_bindings()}))
