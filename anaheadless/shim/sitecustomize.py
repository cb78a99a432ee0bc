# Every Python that is started in a session runs this, before its first line. It knows no syntax that an old one, even
# Python 2, does not know: those are left alone.
import os
import sys

folder = os.path.dirname(__file__)
if sys.version_info >= (3, 8):
    import anaheadless_shim  # type: ignore[import-not-found,unused-ignore]

    anaheadless_shim.install()
# A program's sys.path is that of a plain python; what it starts finds us again by PYTHONPATH.
sys.path[:] = [path for path in sys.path if path != folder]

# The one that would have run without us, conda's or Debian's: it takes this name over. What it raises is for Python's
# own site module, as always.
ours = sys.modules.pop(__name__, None)
try:
    import sitecustomize  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
except ImportError as error:
    if getattr(error, "name", __name__) != __name__:
        raise
    sys.modules[__name__] = ours  # type: ignore[assignment]
