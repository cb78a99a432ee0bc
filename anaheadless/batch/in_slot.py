"""What a slot's session runs: it makes this package known, and becomes a worker.

The package is a stand-in: another one, or none, may be installed for this interpreter.
"""

import os
import socket
import sys

if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
    sys.path[0] = ""  # not this folder
sys.modules["anaheadless"] = type(sys)("anaheadless")
sys.modules["anaheadless"].__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from anaheadless.batch import worker  # noqa: E402

descriptor = int(sys.argv[1])
os.set_inheritable(descriptor, False)
worker.main(worker.Channel(socket.socket(fileno=descriptor)), os.environ)
