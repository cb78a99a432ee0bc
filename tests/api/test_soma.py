"""soma's Qt backend, the real one, takes the session's display, and starts none of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.helpers import run

pytest.importorskip("soma.qt_gui", reason="soma-base is not installed")

BACKEND = """\
import sys
from soma.qt_gui import qt_backend; qt_backend.set_headless()
from soma.qt_gui.qt_backend import QtWidgets
app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(sys.argv)
"""
# What Anatomist itself does, and that QtCore alone makes no difference.
WITH_OPENGL = """\
from soma.qt_gui.qt_backend import QtCore
from soma.qt_gui import qt_backend; qt_backend.set_headless(True, True)
from soma.qt_gui.qt_backend import Qt, QtWidgets
app = Qt.QApplication.instance()
"""
HEADLESS = """\
from soma.qt_gui import headless
headless.setup_headless()
from soma.qt_gui.qt_backend import QtWidgets
app = QtWidgets.QApplication.instance()
"""
WITH_ARGUMENTS = HEADLESS.replace("less()", "less(need_opengl=True, allow_virtualgl=False, force_virtualgl=False)")
XVFB = HEADLESS.replace("setup_headless()", "setup_headless_xvfb(need_opengl=True)")
IMPORTED_FIRST = "import soma.qt_gui.headless\n" + HEADLESS

# Programs that have started no server, and have none: with the display go the cookie and all that was said of it.
REPORT = """
import json, os, psutil
from soma.qt_gui import headless
info = headless.setup_headless()
print(json.dumps({
    'platform': app.platformName(),
    'DISPLAY': os.environ['DISPLAY'],
    'session': os.environ['ANAHEADLESS_SESSION'].partition(',')[0],
    'children': [child.name() for child in psutil.Process().children(recursive=True)],
    'kept': type(info).__module__,
    'headless': info.headless,
    'glx': info.glx,
}))
"""
DRAW = """
class Triangle(QtWidgets.QOpenGLWidget):
    def paintGL(self):
        from PyQt5.QtGui import QOpenGLVersionProfile
        profile = QOpenGLVersionProfile()
        profile.setVersion(2, 0)
        gl = self.context().versionFunctions(profile)
        self.renderer = gl.glGetString(gl.GL_RENDERER)
        gl.glClearColor(0.0, 0.0, 1.0, 1.0)
        gl.glClear(gl.GL_COLOR_BUFFER_BIT)
        gl.glColor3f(1.0, 0.0, 0.0)
        gl.glBegin(gl.GL_TRIANGLES)
        for x, y in (-0.9, -0.9), (0.9, -0.9), (0.0, 0.9):
            gl.glVertex2f(x, y)
        gl.glEnd()

widget = Triangle()
widget.resize(200, 200)
widget.show()
picture = widget.grabFramebuffer()
print([picture.pixelColor(x, y).getRgb()[:3] for x, y in ((100, 100), (3, 3))], widget.renderer == info.renderer)
"""


def launched(code: str, *options: str, **settings: Any) -> list[str]:
    output = run("run", *options, "-c", code, **settings)
    assert (output.returncode, output.stderr) == (0, "")
    return output.stdout.splitlines()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(BACKEND, id="qt_backend"),
        pytest.param(WITH_OPENGL, id="qt_backend with OpenGL"),
        pytest.param(HEADLESS, id="headless"),
        pytest.param(WITH_ARGUMENTS, id="headless with arguments"),
        pytest.param(XVFB, id="xvfb"),
        pytest.param(IMPORTED_FIRST, id="headless imported first"),
    ],
)
def test_soma_sets_up_the_session(code: str) -> None:
    """On X, not on Qt's platform ``offscreen``, and without one of soma's words on stdout."""
    report, drawn = launched(code + REPORT + DRAW)
    said = json.loads(report)
    assert said.pop("DISPLAY") == said.pop("session")
    assert said == {
        "platform": "xcb",
        "children": [],
        "kept": "anaheadless.api.setup",
        "headless": True,
        "glx": 2,
    }
    assert drawn == "[(255, 0, 0), (0, 0, 255)] True"


def test_soma_reports_what_we_report() -> None:
    code = """
from soma.qt_gui import headless
import anatomist.headless, anaheadless
info = headless.setup_headless()
print(info is anatomist.headless.setup_headless() is anaheadless.setup_headless() is headless.setup_headless_xvfb())
print(headless.test_glx.__module__, headless.find_mesa.__module__, headless.__name__)
"""
    assert launched(code) == ["True", "soma.qt_gui.headless soma.qt_gui.headless soma.qt_gui.headless"]


def test_the_application_of_the_program_is_kept() -> None:
    code = """
from PyQt5.QtWidgets import QApplication
own = QApplication(['own'])
from soma.qt_gui import qt_backend; qt_backend.set_headless()
from soma.qt_gui.qt_backend import Qt, QtWidgets
from soma.qt_gui import headless
print(QtWidgets.QApplication.instance() is own is headless.setup_headless().qapp, own.platformName())
"""
    assert launched(code, "--gl", "none") == ["True xcb"]


WIDGET = """
from PyQt5.QtWidgets import QApplication, QLabel
print(info.qapp is QApplication.instance(), info.qapp.platformName(), info.qtapp)
label = QLabel('x')
label.show()
print(label.grab().isNull())
"""


@pytest.mark.parametrize(
    ("before", "module"),
    [
        pytest.param("", "anatomist.headless", id="Anatomist"),
        pytest.param("import sys; sys.modules['soma'] = None", "anatomist.headless", id="Anatomist without soma"),
        pytest.param("", "soma.qt_gui.headless", id="soma"),
    ],
)
def test_widgets_may_follow_the_set_up(before: str, module: str) -> None:
    code = f"{before}\nimport {module}\ninfo = {module}.setup_headless()"
    assert launched(code + WIDGET, "--gl", "none") == ["True xcb None", "False"]


def test_the_display_outlives_what_soma_does_at_the_end() -> None:
    """On its own, soma ends the server that its variable names; what is registered before it runs after it."""
    before = "import atexit\natexit.register(lambda: print(info.virtual_display_proc.poll()))\n"
    code = f"{before}from soma.qt_gui import headless\ninfo = headless.setup_headless()"
    assert launched(code + WIDGET, "--gl", "none")[-1] == "None"


@pytest.mark.parametrize("module", ["anatomist.headless", "soma.qt_gui.headless"])
def test_an_application_without_widgets_makes_way(module: str) -> None:
    """As with soma itself."""
    before = "from PyQt5.QtCore import QCoreApplication\napp = QCoreApplication(['-'])\n"
    code = f"{before}import {module}\ninfo = {module}.setup_headless()"
    assert launched(code + WIDGET, "--gl", "none") == ["True xcb QtCore", "False"]


def test_opengl_is_needed_as_soma_is_told() -> None:
    code = """
from soma.qt_gui import qt_backend
qt_backend.set_headless(True, needs_opengl=False)
import anatomist.headless
print(anatomist.headless.setup_headless().glx)
"""
    assert launched(code) == ["None"]


def test_parameters_by_position_are_in_the_order_of_soma() -> None:
    """In need_opengl, they differ: only then, the answer is None."""
    code = "from {} import setup_headless\nprint(setup_headless({}).glx)"
    for module in "anatomist.headless", "soma.qt_gui.headless":
        assert launched(code.format(module, "False, True, True")) == ["None"]
        assert launched(code.format(module, "None, False, False")) == ["2"]


# A stand-in for a binding, of which there is only what makes an application.
BINDING = {
    "__init__": "",
    "QtCore": """
class Qt:
    class ApplicationAttribute:
        AA_ShareOpenGLContexts = 18
class QCoreApplication:
    @staticmethod
    def instance(): return None
    @staticmethod
    def setAttribute(attribute): pass
pyqtSignal = pyqtSlot = None
def qInstallMessageHandler(handler): pass
""",
    "QtWidgets": "class QApplication:\n    def __init__(self, words): pass\n",
    "sip": "def transferto(made, owner): pass\n",
}


@pytest.mark.parametrize(
    ("before", "environ", "chosen"),
    [
        pytest.param("", {}, "PyQt5", id="nothing is said"),
        pytest.param("import PySide6.QtCore", {}, "PySide6", id="imported"),
        pytest.param("import PyQt6.QtCore, PyQt5.QtCore", {}, "PyQt5", id="two are imported"),
        pytest.param("", {"QT_API": "pyqt6"}, "PyQt5", id="soma is not there"),
        pytest.param("import soma.qt_gui.qt_backend", {}, "PyQt5", id="soma's default"),
        pytest.param("import soma.qt_gui.qt_backend", {"QT_API": "pyqt6"}, "PyQt6", id="soma's choice"),
        pytest.param("import PyQt6.QtCore, soma.qt_gui.qt_backend", {}, "PyQt6", id="soma finds what is imported"),
        pytest.param("sys.modules['PyQt5'] = None", {}, "PyQt6", id="not installed"),
        pytest.param(
            "sys.modules['PyQt5'] = None; import soma.qt_gui.qt_backend", {}, "PyQt6", id="soma's default not installed"
        ),
    ],
)
def test_the_application_is_of_the_binding_that_is_asked_for(
    before: str, environ: dict[str, str], chosen: str, tmp_path: Path
) -> None:
    for binding in "PyQt6", "PySide6":
        (tmp_path / binding).mkdir()
        for name, text in BINDING.items():
            (tmp_path / binding / f"{name}.py").write_text(text)
    code = f"import sys\n{before}\nimport anaheadless\n"
    code += "print(type(anaheadless.setup_headless(qapp=True).qapp).__module__)"
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    assert launched(code, "--gl", "none", env={**os.environ, "PYTHONPATH": path, **environ}) == [f"{chosen}.QtWidgets"]


@pytest.mark.parametrize("code", [BACKEND, HEADLESS], ids=["qt_backend", "headless"])
def test_soma_may_come_after_setup_headless(code: str) -> None:
    """As the Anatomist that is wrapped does it: its Qt comes from soma."""
    before = "import anatomist.headless\nanatomist.headless.setup_headless()\n"
    said = json.loads(launched(before + code + REPORT, "--gl", "none")[0])
    assert (said["platform"], said["children"], said["kept"]) == ("xcb", [], "anaheadless.api.setup")


@pytest.mark.parametrize("code", [BACKEND, HEADLESS], ids=["qt_backend", "headless"])
def test_without_the_shim_soma_finds_a_display_that_works(code: str) -> None:
    """Then soma's own set-up, with what it prints, finds a display that does."""
    *_, report = launched(code + REPORT, "--no-shim")
    said = json.loads(report)
    assert said.pop("DISPLAY") == said.pop("session")
    assert (said["children"], said["kept"], said["headless"]) == ([], "soma.qt_gui.headless", True)


def test_modules_of_soma_are_the_plain_ones(tmp_path: Path) -> None:
    """The loader that is put in between changes nothing of what is told of a module."""
    code = """
import inspect, soma.qt_gui.headless as module
print(module.__file__, module.__package__, module.__spec__.name, module.__spec__.origin, module.__cached__)
print(inspect.getsource(module).count('def '), module.__doc__ == inspect.getdoc(module) or 'cleaned')
"""
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    assert launched(code, "--gl", "none", env=environ) == launched(code, "--gl", "none", "--no-shim", env=environ)
