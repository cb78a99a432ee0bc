"""A description of the machine, for the results."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

PACKAGES = ("anaheadless", "PyVirtualDisplay", "xvfbwrapper", "soma-base", "PyQt5")


def description() -> dict[str, str]:
    memory = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    return {
        "Processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "Memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "System": f"{_system()}, Linux {platform.release()}",
        "Load before": f"{os.getloadavg()[0]:.2f}",
        "Python": platform.python_version(),
        "Packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _system() -> str:
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE)
    return match[1] if match else "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(none)"
