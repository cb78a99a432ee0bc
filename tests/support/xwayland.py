"""A rootful Xwayland that runs on a null compositor in the process of the tests."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from anaheadless.x11 import authority, display_number
from anaheadless.x11.null_compositor import Link, NullCompositor


@dataclass(frozen=True)
class Xwayland:
    process: psutil.Process
    environ: dict[str, str]
    link: Link
