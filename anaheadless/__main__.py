"""``python -m anaheadless`` is the command ``anaheadless``."""

from anaheadless.entry import main

main()
