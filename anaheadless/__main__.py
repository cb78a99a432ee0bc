"""Entry point of ``python -m anaheadless``, which is the command ``anaheadless``."""

from anaheadless.cli.entry import main

main()
