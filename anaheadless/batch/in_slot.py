"""What a slot's session runs to import something: it makes this package known, and becomes a worker.

The package is a stand-in: another one, or none, may be installed for this interpreter. Any Python can read this file.
"""

import json
import os
import socket
import sys

descriptor = int(sys.argv[1])
if sys.version_info < (3, 8):  # noqa: UP036  # of this package; not of the interpreter
    text = "--preload and --call need Python 3.8 or newer, and %s is older" % sys.executable  # noqa: UP031
    refusal = {"refused": text, "details": [], "hint": "Choose another one: --python PATH.", "status": 2}
    connection = socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sendall(json.dumps(refusal).encode() + b"\n")
    sys.exit(2)
os.set_inheritable(descriptor, False)
if not getattr(sys.flags, "safe_path", False) and not sys.flags.isolated:
    sys.path[0] = ""  # not this folder
sys.modules["anaheadless"] = type(sys)("anaheadless")
sys.modules["anaheadless"].__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]
from anaheadless.batch import messages, worker  # noqa: E402

worker.main(messages.Channel(socket.socket(fileno=descriptor)), os.environ)
