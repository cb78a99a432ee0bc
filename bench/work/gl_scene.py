"""Work for the time to the first frame: draw a triangle in a QOpenGLWidget, and save it to the file in the argument."""

import os
import sys

from PyQt5.QtGui import QOpenGLVersionProfile
from PyQt5.QtWidgets import QApplication, QOpenGLWidget


class Triangle(QOpenGLWidget):
    version = renderer = ""

    def paintGL(self) -> None:
        profile = QOpenGLVersionProfile()
        profile.setVersion(2, 0)
        gl = self.context().versionFunctions(profile)
        self.version, self.renderer = gl.glGetString(gl.GL_VERSION), gl.glGetString(gl.GL_RENDERER)
        gl.glClearColor(0.0, 0.0, 1.0, 1.0)
        gl.glClear(gl.GL_COLOR_BUFFER_BIT)
        gl.glColor3f(1.0, 0.0, 0.0)
        gl.glBegin(gl.GL_TRIANGLES)
        for x, y in (-0.9, -0.9), (0.9, -0.9), (0.0, 0.9):
            gl.glVertex2f(x, y)
        gl.glEnd()


def main() -> None:
    app = QApplication.instance() or QApplication(sys.argv)
    widget = Triangle()
    widget.resize(200, 200)
    widget.show()
    image = widget.grabFramebuffer()
    inside = image.pixelColor(100, 100)
    if (inside.red(), inside.green(), inside.blue()) != (255, 0, 0) or not image.save(sys.argv[1]):
        sys.exit("no picture")
    print(os.environ.get("DISPLAY", ""), os.getpid())
    print(f"OpenGL: {widget.version}, {widget.renderer}")
    del widget, app  # in this order; an X server may end when this returns
