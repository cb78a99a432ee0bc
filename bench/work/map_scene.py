"""Work for many pictures: draw a triangle, as a script, or as a function that is called again and again."""

import sys

import map_imports  # type: ignore[import-not-found]  # it stands beside this file  # noqa: F401
from PyQt5.QtGui import QOpenGLVersionProfile
from PyQt5.QtWidgets import QApplication, QOpenGLWidget


class Triangle(QOpenGLWidget):
    def paintGL(self) -> None:
        profile = QOpenGLVersionProfile()
        profile.setVersion(2, 0)
        gl = self.context().versionFunctions(profile)
        gl.glClearColor(0.0, 0.0, 1.0, 1.0)
        gl.glClear(gl.GL_COLOR_BUFFER_BIT)
        gl.glColor3f(1.0, 0.0, 0.0)
        gl.glBegin(gl.GL_TRIANGLES)
        for x, y in (-0.9, -0.9), (0.9, -0.9), (0.0, 0.9):
            gl.glVertex2f(x, y)
        gl.glEnd()


kept: list[object] = []  # an application must outlive its windows


def draw(path: str) -> None:
    app = QApplication.instance() or QApplication(sys.argv)
    kept.append(app)
    widget = Triangle()
    widget.resize(200, 200)
    widget.show()
    image = widget.grabFramebuffer()
    inside = image.pixelColor(100, 100)
    if (inside.red(), inside.green(), inside.blue()) != (255, 0, 0) or not image.save(path):
        sys.exit("no picture")


if __name__ == "__main__":
    draw(sys.argv[1])
