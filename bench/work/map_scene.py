"""Work for many pictures: draw a triangle, as a script, or as a function that is called again and again."""

import sys

import map_imports  # type: ignore[import-not-found]  # these two stand beside this file  # noqa: F401
from gl_scene import Triangle  # type: ignore[import-not-found]
from PyQt5.QtWidgets import QApplication

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
