"""A Chromium that a test looks through. Source: the Chrome DevTools Protocol, over --remote-debugging-pipe."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.helpers import PATIENCE

# Chromium reads from descriptor 3 and writes to 4.
_START = 'exec "${@:3}" 3<&$1 4>&$2'
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--window-size=800,600")


class Tab:
    """A page in the browser."""

    def __init__(self, requests: int, replies: int) -> None:
        self._requests, self._replies = requests, replies
        self._number, self._text = 0, b""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    _session = ""

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while (reply := self._next()).get("id") != self._number:
            pass
        assert "result" in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._text:
            assert select.select([self._replies], [], [], PATIENCE)[0], "the browser does not answer"
            more = os.read(self._replies, 1 << 20)
            assert more, "the browser has ended"
            self._text += more
        text, _, self._text = self._text.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        return found

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def click(self, x: float, y: float) -> None:
        for kind in "mousePressed", "mouseReleased":
            self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, letter: str) -> None:
        for kind in "keyDown", "keyUp":
            self.ask("Input.dispatchKeyEvent", type=kind, text=letter, key=letter, code=f"Key{letter.upper()}")


@contextlib.contextmanager
def browsing(address: str, folder: Path) -> Iterator[Tab]:
    """Show a page in a browser whose profile is below *folder*."""
    to_browser, from_browser = os.pipe(), os.pipe()
    theirs = (to_browser[0], from_browser[1])
    chromium = ["chromium", *_OPTIONS, f"--user-data-dir={folder}/profile"]
    command = ["bash", "-c", _START, "bash", *map(str, theirs), *chromium]
    with subprocess.Popen(command, pass_fds=theirs, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for descriptor in theirs:
                os.close(descriptor)
            tab = Tab(to_browser[1], from_browser[0])
            tab.ask("Page.navigate", url=address)
            yield tab
        finally:
            for descriptor in to_browser[1], from_browser[0]:  # which ends it
                os.close(descriptor)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
