"""Show a plain widget of one colour; print the platform plugin, and the colour that a grab has in the middle."""

from __future__ import annotations

import sys

from PyQt5.QtCore import QTimer
from PyQt5.QtGui import QGuiApplication
from PyQt5.QtWidgets import QApplication, QWidget

app = QApplication(sys.argv)
widget = QWidget()
widget.setStyleSheet("background: rgb(10, 200, 30)")
widget.resize(200, 100)
widget.show()


def finish() -> None:
    # Of the screen, not of the widget: so the X server drew it.
    screen = QGuiApplication.primaryScreen()
    color = screen.grabWindow(widget.winId()).toImage().pixelColor(100, 50)
    print(QGuiApplication.platformName(), color.red(), color.green(), color.blue())
    print(screen.size().width(), screen.size().height(), screen.depth(), round(screen.physicalDotsPerInch()))
    app.quit()


QTimer.singleShot(50, finish)
sys.exit(app.exec_())
