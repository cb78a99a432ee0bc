"""Work with plain Qt: draw a label, and save it to the file in the argument."""

import os
import sys

from PyQt5.QtWidgets import QApplication, QLabel


def main() -> None:
    app = QApplication.instance() or QApplication(sys.argv)
    widget = QLabel("Hello from a machine without a screen")
    widget.resize(400, 300)
    widget.show()
    if not widget.grab().save(sys.argv[1]):
        sys.exit("no picture")
    print(os.environ.get("DISPLAY", ""), os.getpid())
    del widget, app  # in this order; an X server may end when this returns
