# Every Python in a session runs this before its first line. The syntax is that of all versions, even Python 2: this
# does nothing for versions before 3.8, but must not fail there.
import os
import sys

folder = os.path.dirname(__file__)
if sys.version_info >= (3, 8):
    import anaheadless_shim  # type: ignore[import-not-found,unused-ignore]

    anaheadless_shim.install()
# The program's sys.path is that of a plain python; the programs that it starts find this file by PYTHONPATH.
sys.path[:] = [path for path in sys.path if path != folder]

# Run the sitecustomize that would have run without this one, conda's or Debian's: it takes this name over. What it
# raises is handled by Python's own site module, as always.
ours = sys.modules.pop(__name__, None)
try:
    import sitecustomize  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
except ImportError as error:
    if getattr(error, "name", __name__) != __name__:
        raise
    sys.modules[__name__] = ours  # type: ignore[assignment]
