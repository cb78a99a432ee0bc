"""``python -m anaheadless`` is the command ``anaheadless``."""

from anaheadless.cli.entry import main

main()
