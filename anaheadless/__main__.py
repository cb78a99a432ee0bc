"""``python -m anaheadless`` is the command ``anaheadless``."""

from anaheadless.cli import main

main()
