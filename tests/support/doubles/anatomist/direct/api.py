from __future__ import annotations

import sys
from typing import Any

from PyQt5.QtGui import QOpenGLVersionProfile
from PyQt5.QtWidgets import QApplication, QOpenGLWidget

from anatomist import base


class Anatomist(base.Anatomist):
    def __singleton_init__(self, *args: Any, **kwargs: Any) -> None:
        super().__singleton_init__(*args, **kwargs)
        self.application = QApplication.instance() or QApplication(sys.argv)

    def loadObject(self, filename: str) -> AObject:
        return AObject(filename)

    def createWindow(self, wintype: str) -> AWindow:
        return AWindow(wintype)


class AObject:
    def __init__(self, filename: str) -> None:
        self.filename = filename


class AWindow:
    def __init__(self, wintype: str) -> None:
        self.view = View()

    def addObjects(self, *objects: AObject) -> None:
        self.view.objects += objects

    def snapshot(self, filename: str, width: int, height: int) -> None:
        self.view.resize(width, height)
        if not self.view.grabFramebuffer().save(filename):
            raise OSError(f"{filename} can't be written")


class View(QOpenGLWidget):
    """Blue, with a red triangle when there are objects."""

    renderer = ""

    def __init__(self) -> None:
        super().__init__()
        self.objects: list[AObject] = []

    def paintGL(self) -> None:
        profile = QOpenGLVersionProfile()
        profile.setVersion(2, 0)
        gl = self.context().versionFunctions(profile)
        self.renderer = gl.glGetString(gl.GL_RENDERER)
        gl.glClearColor(0.0, 0.0, 1.0, 1.0)
        gl.glClear(gl.GL_COLOR_BUFFER_BIT)
        gl.glColor3f(1.0, 0.0, 0.0)
        gl.glBegin(gl.GL_TRIANGLES)
        for x, y in ((-0.9, -0.9), (0.9, -0.9), (0.0, 0.9)) if self.objects else ():
            gl.glVertex2f(x, y)
        gl.glEnd()
