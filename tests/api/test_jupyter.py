"""setup_headless() in a notebook, whose kernel nobody has launched."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.support.helpers import PATIENCE, SOCKETS, is_running, wait_until
from tests.support.pictures import filled, read_png
from tests.support.plain import COLOURS, PRELUDE, bare


class Notebook:
    """A running kernel."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client: BlockingKernelClient = manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE)
        self.run(PRELUDE)

    def run(self, code: str) -> str:
        """What a cell prints; it has to end well."""
        reply, messages = self.execute(code)
        assert reply["content"]["status"] == "ok", reply["content"]
        streams = [message["content"] for message in messages if message["msg_type"] == "stream"]
        assert {stream["name"] for stream in streams} <= {"stdout"}, streams
        return "".join(stream["text"] for stream in streams)

    def execute(self, code: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        messages: list[dict[str, Any]] = []
        reply = self.client.execute_interactive(code, timeout=PATIENCE, output_hook=messages.append)
        return reply, messages

    def show(self, code: str) -> dict[str, str]:
        """The result of a cell, by its kinds."""
        found = [each["content"]["data"] for each in self.execute(code)[1] if each["msg_type"] == "execute_result"]
        assert len(found) == 1
        data: dict[str, str] = found[0]
        return data

    def ask(self, code: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.run(code))
        return said


def left(said: dict[str, Any]) -> list[str]:
    """What is still there of the session of a report(), in words."""
    processes = [psutil.Process(pid) for pid in (said["keeper"], said["server"]) if psutil.pid_exists(pid)]
    found = [str(process) for process in processes if is_running(process)]
    socket = SOCKETS / f"X{said['display'][1:]}"
    return found + [str(path) for path in (socket, Path(f"/tmp/.X{said['display'][1:]}-lock")) if path.exists()]


@contextmanager
def kernel(folder: Path) -> Iterator[Notebook]:
    manager = KernelManager(connection_file=str(folder / "connection.json"))
    own = {name: str(folder) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "HOME")}
    with open(folder / "errors", "wb") as errors:  # also for the next one, where it is restarted
        manager.start_kernel(env=bare(**own), stderr=errors)
        notebook = None
        try:
            notebook = Notebook(manager)
            yield notebook
        finally:
            if notebook is not None:
                notebook.client.stop_channels()
            manager.shutdown_kernel(now=True)
            manager.cleanup_resources()
            manager.context.destroy()


def pid_of(manager: KernelManager) -> int:
    pid: int = manager.provisioner.pid  # type: ignore[union-attr]
    return pid


def shut_down(notebook: Notebook) -> None:
    notebook.manager.shutdown_kernel()


def kill(notebook: Notebook) -> None:
    psutil.Process(pid_of(notebook.manager)).kill()


@pytest.mark.parametrize("end", [shut_down, kill], ids=["shut down", "SIGKILL"])
@pytest.mark.needs("xdpyinfo")
def test_a_notebook_has_a_display(end: Callable[[Notebook], None], tmp_path: Path) -> None:
    with kernel(tmp_path) as notebook:
        said = notebook.ask("report(anaheadless.setup_headless())")
        assert said["target"] == pid_of(notebook.manager)
        info = said["info"]
        assert (info["headless"], info["glx"], info["original_display"]) == (True, 2, None)
        # Another cell, with the same display.
        again = notebook.ask(f"say(info=told(anaheadless.setup_headless()), drawn=picture('{tmp_path}/out.png'))")
        assert again == {"info": info, "drawn": [f"xcb {info['renderer']}", *COLOURS]}
        assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
        assert "dimensions:" in notebook.ask("say(shown=xdpyinfo())")["shown"]
        end(notebook)
        wait_until(lambda: not left(said), "nothing is left")
    assert not any(word in (tmp_path / "errors").read_text() for word in ("XIO", "xcb", "Traceback"))


def test_a_restarted_kernel_has_a_new_display(tmp_path: Path) -> None:
    with kernel(tmp_path) as notebook:
        first = notebook.ask("report(anaheadless.setup_headless(need_opengl=False))")
        notebook.manager.restart_kernel(now=False)
        notebook.client.wait_for_ready(timeout=PATIENCE)
        wait_until(lambda: not left(first), "nothing is left of the first one")
        notebook.run(PRELUDE)
        second = notebook.ask("report(anaheadless.setup_headless(need_opengl=False))")
        assert second["info"]["original_display"] is None
        assert second["keeper"] != first["keeper"]
        # The user's own clean-up.
        notebook.run("anaheadless.stop_headless(); assert 'DISPLAY' not in os.environ")
        wait_until(lambda: not left(second), "nothing is left of the second one")


def test_a_kernel_is_not_relaunched(tmp_path: Path) -> None:
    with kernel(tmp_path) as notebook:
        words = notebook.ask("say(words=tried(anaheadless.relaunch, gl='none'), display=os.environ.get('DISPLAY'))")
    assert "this program can't be relaunched: it is an IPython shell or a Jupyter kernel\n" in words["words"]
    assert "anaheadless.setup_headless()" in words["words"]
    assert words["display"] is None


def test_the_extension_shows_what_is_on_the_display(tmp_path: Path) -> None:
    with kernel(tmp_path) as notebook:
        notebook.run("anaheadless.setup_headless(screen='200x100', need_opengl=False, qapp=True); None")
        notebook.run("%load_ext anaheadless")
        notebook.run(
            "from PyQt5.QtWidgets import QWidget\n"
            "widget = QWidget()\nwidget.setStyleSheet('background: red')\n"
            "widget.setGeometry(0, 0, 200, 100)\nwidget.show()"
        )
        shown = notebook.show(f"%screenshot {tmp_path}/a picture.png")
        assert shown["text/plain"] == "<Screenshot: 200x100>"
        assert base64.b64decode(shown["image/png"]) == (tmp_path / "a picture.png").read_bytes()
        assert read_png(tmp_path / "a picture.png") == filled(200, 100, (255, 0, 0))
        assert notebook.show("anaheadless.screenshot()")["image/png"] == shown["image/png"]
        reply, messages = notebook.execute(f"%screenshot {tmp_path}/missing/x.png")
        assert (reply["content"]["status"], reply["content"]["ename"]) == ("error", "UsageError")
        assert "Traceback" not in str(messages)


def test_the_extension_gives_the_kernel_a_display(tmp_path: Path) -> None:
    with kernel(tmp_path) as notebook:
        notebook.run("%load_ext anaheadless")
        assert notebook.show("%screenshot")["text/plain"] == "<Screenshot: 1280x1024>"
