"""A report on the target's interpreter for the doctor: Qt bindings, as JSON on standard output.

It runs alone, as ``python inspection.py``, in the target's interpreter and environment. It does not import Qt: Qt ends
the process if it can't load its platform plugin. So this only looks for the plugin's file, and for missing libraries.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import subprocess
import sys

BINDINGS = ("PyQt5", "PyQt6", "PySide2", "PySide6")
# The folders of Qt's plugins: in bindings from PyPI and conda, and in those of the distributions.
PLUGINS = ("Qt5/plugins", "Qt6/plugins", "Qt/plugins", "plugins")
SYSTEM_PLUGINS = ("/usr/lib/*/qt{}/plugins", "/usr/lib64/qt{}/plugins", "/usr/lib/qt{}/plugins", "/usr/lib/qt/plugins")


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
    print(json.dumps({"python": version, "qt": qt_bindings()}))
