"""Fill the screen with a colour; print each click and each key."""

from __future__ import annotations

import sys

from PyQt5.QtGui import QKeyEvent, QMouseEvent
from PyQt5.QtWidgets import QApplication, QWidget


class Echo(QWidget):
    def mousePressEvent(self, event: QMouseEvent) -> None:
        print("click", event.x(), event.y(), flush=True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        print("key", event.text(), flush=True)


app = QApplication(sys.argv)
widget = Echo()
widget.setStyleSheet("background: rgb(10, 200, 30)")
widget.setGeometry(app.primaryScreen().geometry())
widget.show()
app.focusWindowChanged.connect(lambda window: print("active", flush=True))
sys.exit(app.exec_())
