"""The imports of map_scene.py: Qt, and as many seconds more as HEAVY says, as Anatomist takes."""

import os
import time

from PyQt5 import QtGui, QtWidgets  # noqa: F401

end = time.process_time() + float(os.environ["HEAVY"])
while time.process_time() < end:
    pass
