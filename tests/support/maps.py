"""Maps in a folder, and what is left of them."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support import helpers
from tests.support.helpers import ANAHEADLESS, wait_until


class Maps:
    """What starts maps in a folder, and knows their processes by their PATH, which sessions have, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = f"/nowhere/{uuid.uuid4().hex}"
        self.environ = {**os.environ, "PATH": f"{os.environ['PATH']}:{self.mark}"}
        self.environ.pop("PYTHONUNBUFFERED", None)

    def script(self, text: str, name: str = "script.py") -> str:
        (self.folder / name).write_text(text)
        return name

    def run(self, *args: str | bytes, status: int = 0, **settings: Any) -> subprocess.CompletedProcess[str]:
        """``anaheadless map ARGS`` to its end, without OpenGL."""
        settings = {"cwd": self.folder, "env": self.environ, "errors": "surrogateescape", **settings}
        output = helpers.run("map", "--gl", "none", *args, **settings)
        assert output.returncode == status, output
        assert "anaheadless/batch" not in output.stderr, output.stderr
        return output

    @contextmanager
    def running(self, *args: str, **settings: Any) -> Iterator[subprocess.Popen[str]]:
        settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
        command = [ANAHEADLESS, "map", "--gl", "none", *args]
        with subprocess.Popen(command, cwd=self.folder, env=self.environ, text=True, **settings) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def journal(self, name: str = "anaheadless-map.jsonl") -> dict[str, dict[str, Any]]:
        """What the journal tells of each item, by its input."""
        lines = map(json.loads, (self.folder / name).read_text().splitlines())
        return {" ".join(line["input"]): line for line in lines if line["event"] == "item"}

    def results(self) -> dict[str, str]:
        return {name: line["result"] for name, line in self.journal().items()}

    def left(self) -> list[psutil.Process]:
        """The processes of these maps, of their sessions and items, that are there now."""
        found = []
        for process in psutil.process_iter():
            try:
                if self.mark in process.environ().get("PATH", "") and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def wait_for(self, name: str) -> str:
        """Wait until an item has written a file, which then is not empty; return what is in it."""
        path = self.folder / name
        wait_until(lambda: path.exists() and path.read_text(), f"{name} is there")
        return path.read_text()
