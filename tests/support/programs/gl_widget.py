"""Draw a triangle in a QOpenGLWidget; print the renderer, and the colours inside and outside of it."""

from __future__ import annotations

import sys

from PyQt5.QtGui import QGuiApplication, QOpenGLVersionProfile
from PyQt5.QtWidgets import QApplication, QOpenGLWidget


class Triangle(QOpenGLWidget):
    renderer = ""

    def paintGL(self) -> None:
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


app = QApplication(sys.argv)
widget = Triangle()
widget.resize(200, 200)
widget.show()
image = widget.grabFramebuffer()
print(QGuiApplication.platformName(), widget.renderer)
for x, y in (100, 100), (3, 3):
    color = image.pixelColor(x, y)
    print(color.red(), color.green(), color.blue())
if image.save(sys.argv[1]) is False:
    sys.exit(1)
