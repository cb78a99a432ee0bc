"""With --preload, a program runs in a fork of an interpreter that has imported, as if it had been started itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.maps import Maps

LOOK = """
import os, signal, sys, threading, __main__
print(ascii([sys.argv, __name__, __main__.__dict__ is globals(), sys.modules["__main__"] is __main__]))
print(sys.path[0], sorted(k for k in globals() if k.startswith("__")), globals().get("__file__"))
print(__spec__, type(__loader__).__name__, __builtins__, __doc__, globals().get("__package__"))
print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE)])
print(sys.stdin.read(), os.getpgrp() == os.getpid(), threading.active_count(), sys.stdout.line_buffering)
print(sorted(os.listdir("/proc/self/fd")))
print([name for name in sys.modules if name.startswith("anaheadless")])
"""


def both(maps: Maps, *words: str, status: int | None = None) -> tuple[str, str]:
    """What a program says when it is preloaded, and when it is executed: standard output and standard error."""
    said = []
    for preload in ("--preload", "json.tool"), ():
        output = maps.run("--no-resume", "--timeout", "20s", *preload, *words, ":::", "a b", status=int(status != 0))
        line = maps.journal()["a b"]
        assert status in (line["status"], None if line["signal"] is None else -line["signal"]), (preload, line)
        said.append(output.stdout + re.sub(r"^anaheadless: .*\n", "", output.stderr, flags=re.MULTILINE))
    return said[0], said[1]


@pytest.fixture
def package(maps: Maps) -> Maps:
    (maps.folder / "package").mkdir()
    (maps.folder / "package" / "__init__.py").touch()
    (maps.folder / "package" / "__main__.py").write_text(LOOK)
    (maps.folder / "sub").mkdir()
    (maps.folder / "sub" / "script.py").write_text('"""A doc."""\n' + LOOK)
    (maps.folder / "link.py").symlink_to("sub/script.py")
    return maps


@pytest.mark.parametrize(
    "words", [["sub/script.py"], ["link.py", "{}", "x"], ["package"], ["-m", "package", "{}"], ["-c", LOOK]]
)
def test_it_is_the_main_program(words: list[str], package: Maps) -> None:
    ours, theirs = both(package, *words, status=0)
    ours, theirs = (re.sub(r" at 0x\w+", "", text) for text in (ours, theirs))
    assert ours == theirs


ENDINGS = {
    "": 0,
    "sys.exit(3)": 3,
    "sys.exit('in words')": 1,
    "raise ValueError('no')": 1,
    "raise SystemExit(None)": 0,
    "raise KeyboardInterrupt": -2,
    "os.abort()": -6,
    "os._exit(4)": 4,
    "def f():\n    1 / 0\nf()": 1,
    "syntax error": 1,
    "import atexit; atexit.register(print, 'late'); print('early')": 0,
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()": 0,
    "sys.excepthook = lambda *a: print('hooked', a[0].__name__); raise KeyError": 1,
    "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('chained') from e": 1,
    "os.close(1); print('nobody hears this')": 120,
    "sys.stdout.write('no line end')": 0,
    "import subprocess; subprocess.run(['sh', '-c', 'echo child'])": 0,
    "import multiprocessing as m\nif __name__ == '__main__': print(m.get_context('spawn').Pool(1).map(len, 'a'))": 0,
}


@pytest.mark.parametrize("code", ENDINGS)
@pytest.mark.parametrize("way", ["script", "-c"])
def test_it_ends_as_it_would(code: str, way: str, maps: Maps) -> None:
    if way == "-c" and "spawn" in code:
        pytest.skip("multiprocessing has no main program to import")
    text = f"import os, sys\n{code}\n"
    ours, theirs = both(maps, *([maps.script(text)] if way == "script" else ["-c", text]), status=ENDINGS[code])
    assert ours == theirs


def test_modules_are_imported_once_and_found_beside_the_script(maps: Maps) -> None:
    (maps.folder / "slow.py").write_text("print('imported', flush=True)\nhere = []")
    script = maps.script("import slow, sys; slow.here.append(sys.argv[1]); print(slow.here)")
    output = maps.run("-j1", "--preload", "slow", script, ":::", *"abc")
    assert output.stdout == "['a']\n['b']\n['c']\n"
    assert output.stderr.count("imported") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
            "1 threads are",
        ),
        ("import os; raise RuntimeError('not today')", "--preload heavy fails"),
        ("raise SystemExit", "--preload heavy fails"),
        (
            "import os, socket\nc = socket.socket(1)\nc.connect('\\0/tmp/.X11-unix/X' + os.environ['DISPLAY'][1:])",
            "a connection to the X server",
        ),
        ("from PyQt5.QtCore import QCoreApplication; app = QCoreApplication([])", "there is a QApplication"),
    ],
)
def test_what_a_fork_could_not_use_is_refused(text: str, message: str, maps: Maps) -> None:
    maps.script(text, "heavy.py")
    output = maps.run("--preload", "heavy", "-c", "open('ran', 'w')", ":::", "a", "b", status=125)
    assert message in output.stderr
    assert ("not today" in output.stderr) == ("not today" in text)
    assert not (maps.folder / "ran").exists()
    assert maps.journal() == {}


def test_a_qt_program_draws_in_each_fork(maps: Maps) -> None:
    script = """
import sys
from PyQt5.QtWidgets import QApplication, QLabel
app = QApplication(sys.argv)
label = QLabel(sys.argv[1])
label.show()
print(app.platformName(), label.grab().save(sys.argv[1] + ".png"))
"""
    output = maps.run("-j2", "--preload", "PyQt5.QtWidgets", maps.script(script), ":::", *"abcd")
    assert output.stdout == "xcb True\n" * 4
    assert sorted(path.name for path in maps.folder.glob("*.png")) == [f"{name}.png" for name in "abcd"]


def test_forks_draw_random_numbers_of_their_own(maps: Maps) -> None:
    (maps.folder / "numpy").mkdir()  # a stand-in: what is asked of numpy is to be seeded anew
    (maps.folder / "numpy" / "__init__.py").write_text("from numpy import random")
    (maps.folder / "numpy" / "random.py").write_text(
        "import random\n_state = random.Random(1)\nseed = lambda: _state.seed()\nrandom = lambda: _state.random()\n"
    )
    code = "import random, numpy; print(random.random(), numpy.random.random())"
    shown = maps.run("--preload", "numpy", "--preload", "random", "-c", code, ":::", *"abc").stdout.split()
    assert len(set(shown)) == 6


def test_the_number_of_blas_threads_is_not_the_items(maps: Maps) -> None:
    (maps.folder / "blas.py").write_text("import os; found = os.environ['OPENBLAS_NUM_THREADS']")
    code = "import blas, os; print(blas.found, os.environ.get('OPENBLAS_NUM_THREADS'))"
    assert maps.run("--preload", "blas", "-c", code, ":::", "a").stdout == "1 None\n"
    environ = {**maps.environ, "OPENBLAS_NUM_THREADS": "3"}
    assert maps.run("--no-resume", "--preload", "blas", "-c", code, ":::", "a", env=environ).stdout == "3 3\n"


def test_other_interpreters_do_it_too(maps: Maps, tmp_path: Path) -> None:
    """One that knows nothing of what is installed here."""
    found = [
        python
        for python in ("/usr/bin/python3", *(f"python3.{minor}" for minor in (8, 9, 14)))
        if subprocess.run(["sh", "-c", f"{python} -c 0"], capture_output=True).returncode == 0
    ]
    if not found:
        pytest.skip("there is no other interpreter")
    for python in found:
        code = "import sys; print(sys.version_info[:2])"
        expected = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
        options = ("--no-resume", "--python", python)
        assert maps.run(*options, "--preload", "json", "-c", code, ":::", "a").stdout == expected
        assert maps.run(*options, "-c", code, ":::", "a").stdout == expected


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_an_interpreter_that_is_too_old_is_refused(version: str, maps: Maps) -> None:
    found = next(iter(sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))), None)
    if found is None:
        pytest.skip(f"there is no Python {version}")
    output = maps.run("--python", str(found), "--preload", "json", "-c", "0", ":::", "a", status=2)
    assert "need Python 3.8 or newer" in output.stderr
